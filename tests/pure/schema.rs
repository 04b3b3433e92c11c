//! The committed JSON Schema is that of the types.
//!
//! After a change of the scenario's shape run this test with `UPDATE_SCHEMA=1` to write the file anew.

use std::path::Path;
use std::process::Command;

#[test]
fn the_committed_schema_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scenario.schema.json");
    let schema = serde_json::to_string_pretty(&halfopen::scenario::schema())
        .expect("a schema is JSON")
        + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &schema).expect("it can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == schema,
        "docs/scenario.schema.json has drifted: run `UPDATE_SCHEMA=1 cargo test --test pure schema::`, and ci/scenario-docs"
    );
}

#[test]
fn the_schema_names_every_field_and_describes_it() {
    let schema = halfopen::scenario::schema();
    let fields = schema["properties"].as_object().expect("an object");
    for (name, field) in fields {
        // A named mapping carries its description beside its shape.
        assert!(
            field["description"].is_string(),
            "`{name}` has no description: {field}"
        );
    }
    let required: Vec<&str> = schema["required"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|f| f.as_str())
        .collect();
    assert_eq!(required, ["name", "nodes", "servers", "clients", "faults"]);
    assert_eq!(schema["additionalProperties"], false);
}

/// They stand in docs/scenario.md, from where people copy them.
#[test]
fn the_examples_of_the_reference_have_no_mistakes() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/scenarios/examples.yaml");
    let mut check = Command::new(env!("CARGO_BIN_EXE_halfopen"));
    let ended = check.arg("check").arg(examples).output().expect("it runs");
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

#[test]
fn the_schema_offers_every_preset_and_takes_other_names() {
    let schema = halfopen::scenario::schema();
    let names = schema["$defs"]["ProfileName"]["anyOf"].as_array();
    let names = names.expect("a list");
    let offered: Vec<&str> = names.iter().filter_map(|n| n["const"].as_str()).collect();
    let presets: Vec<&str> = halfopen::preset::presets().iter().map(|p| p.name).collect();
    assert_eq!(offered, presets);
    assert!(names.iter().any(|name| name["type"] == "string"));
}
