// From an inventory to the snapshot it asks for: a pure function, the same for every controller that sees the same.

public import Model

public enum ServiceMapping {
    /// The snapshot that this inventory asks for, in canonical order whatever the order of the input.
    public static func snapshot(of inventory: Inventory, settings: MappingSettings) -> Snapshot {
        Snapshot(order: inventory.order)
    }
}
