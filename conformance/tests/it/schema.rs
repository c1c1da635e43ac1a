//! The committed schema is that of the types.

#[test]
fn the_schema_is_up_to_date() {
    let committed = include_str!("../../case.schema.json");
    let made = chassis_conformance::schema();
    assert!(committed == made, "chassis conformance --schema > conformance/case.schema.json");
}

#[test]
fn the_schema_knows_the_keys_of_a_case() {
    let schema: serde_json::Value = serde_json::from_str(&chassis_conformance::schema()).unwrap();
    for key in ["about", "guest", "expect", "then", "request", "upstream", "limits"] {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
    assert_eq!(schema["additionalProperties"], false);
}
