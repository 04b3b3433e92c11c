//! `halfopen profiles`.

use serde_json::Value;

use crate::command::run;

#[test]
fn the_list_has_every_preset() {
    let listed = run(["profiles"]);
    listed.assert(0, &[]);
    insta::assert_snapshot!(listed.stdout);
}

#[test]
fn one_has_every_source() {
    let one = run(["profiles", "client-go"]);
    one.assert(0, &[]);
    insta::assert_snapshot!(one.stdout);
}

#[test]
fn as_json_they_have_every_knob() {
    let all: Value = serde_json::from_str(&run(["profiles", "--json"]).stdout).expect("JSON");
    assert_eq!(
        all.as_array().map(Vec::len),
        Some(halfopen::preset::presets().len())
    );
    let one = run(["profiles", "--json", "go-http1"]);
    insta::assert_snapshot!(one.stdout);
}

#[test]
fn an_unknown_name_proposes_the_nearest() {
    let says = "error: no preset named `go-htpp2`; did you mean `go-http2`?";
    run(["profiles", "go-htpp2"]).assert(2, &[says]);
    run(["profiles", "zebra"]).assert(2, &["no preset named `zebra`; known are `aiohttp`"]);
}
