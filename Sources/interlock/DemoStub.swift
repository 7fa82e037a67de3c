enum DemoBackendRole { static func run(_ s: Settings, _ a: Arguments) throws(Interlock.Failure) -> Int32 { 0 } }
