//! Everything that can be wrong with a scenario is reported where it stands, and all of it at once.

use std::path::Path;

use halfopen::scenario::{Diagnostic, MAX_BYTES, PlanOptions, load, parse, render};

/// What a person sees of a file of `fixtures/bad`.
fn complaint(name: &str) -> String {
    let file = format!("fixtures/bad/{name}.yaml");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
    let text = std::fs::read_to_string(path).expect("the fixture is there");
    let errors = errors_of(&file, &text);
    assert!(!errors.is_empty(), "{file} passed for a good scenario");
    for error in &errors {
        let location = error.location();
        assert_eq!(location.file, file);
        assert!(location.line >= 1 && location.column >= 1, "{location:?}");
    }
    render(&errors, false)
}

fn errors_of(name: &str, text: &str) -> Vec<Diagnostic> {
    let found = parse(name, text, &PlanOptions::default());
    found.err().unwrap_or_default()
}

macro_rules! bad {
    ($($test:ident: $file:literal,)*) => {
        $(#[test]
        fn $test() {
            insta::assert_snapshot!($file, complaint($file));
        })*

        #[test]
        fn every_bad_fixture_has_a_test() {
            let tested = [$($file),*];
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/bad");
            for entry in std::fs::read_dir(path).expect("the folder is there") {
                let path = entry.expect("it can be read").path();
                let name = path.file_stem().and_then(|n| n.to_str()).unwrap_or_default();
                assert!(tested.contains(&name), "no test for {}", path.display());
            }
        }
    };
}

bad! {
    workloads: "workloads",
    capabilities: "capabilities",
    nobody_sets_rules: "nobody-sets-rules",
    counters: "counters",
    distribution_of_one: "distribution-of-one",
    duplicate_key: "duplicate-key",
    duplicate_name: "duplicate-name",
    duration_without_unit: "duration-without-unit",
    empty: "empty",
    expect_of_the_dead: "expect-of-the-dead",
    expect_servers: "expect-servers",
    expect_servers_unseen: "expect-servers-unseen",
    expect_unknown_client: "expect-unknown-client",
    expect_when_unknown: "expect-when-unknown",
    exploding_aliases: "exploding-aliases",
    fault_on_unknown_node: "fault-on-unknown-node",
    fault_order: "fault-order",
    fault_place: "fault-place",
    fault_misnamed: "fault-misnamed",
    fault_names: "fault-names",
    fault_time: "fault-time",
    fault_trigger: "fault-trigger",
    fault_value: "fault-value",
    fault_jitter: "fault-jitter",
    matrix_bad_value: "matrix-bad-value",
    matrix_matches_nothing: "matrix-matches-nothing",
    masqueraded: "masqueraded",
    merge_key: "merge-key",
    middleboxes: "middleboxes",
    missing_fields: "missing-fields",
    no_duration: "no-duration",
    nothing_breaks: "nothing-breaks",
    only_a_comment: "only-a-comment",
    overlapping_addresses: "overlapping-addresses",
    probes: "probes",
    profiles: "profiles",
    protocols: "protocols",
    modes: "modes",
    proxy: "proxy",
    repeat: "repeat",
    rolling: "rolling",
    round_trips: "rtt",
    several: "several",
    sizes: "sizes",
    sysctls: "sysctls",
    tab: "tab",
    two_documents: "two-documents",
    unknown_field: "unknown-field",
    unknown_profile: "unknown-profile",
    published: "published",
    unknown_server: "unknown-server",
    urls: "urls",
    window_after_the_end: "window-after-the-end",
    windows: "windows",
    wrong_kinds: "wrong-kinds",
}

#[test]
fn a_file_of_10_mb_is_refused_by_its_size_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("large.yaml");
    std::fs::write(&path, "# filler\n".repeat(1_200_000)).expect("it can be written");
    let errors = load(&path, &PlanOptions::default()).expect_err("too large");
    let [error] = errors.as_slice() else {
        panic!("one error, not {}", errors.len());
    };
    assert!(error.message().contains(&MAX_BYTES.to_string()), "{error}");
    assert!(error.message().contains("1 MiB"), "{error}");
}

/// As a program writes a scenario: JSON in one line.
#[test]
fn a_mistake_far_out_in_a_long_line_is_shown_with_what_is_around_it() {
    let servers: Vec<String> = (0..4000)
        .map(|n| format!("\"s{n}\":{{\"node\":\"n1\",\"port\":80}}"))
        .collect();
    let servers = servers.join(",");
    let text = format!(
        "{{\"name\":\"t\",\"nodes\":[\"n1\"],\"servers\":{{{servers},\"last\":{{\"node\":\"n2\"}}}},\
         \"clients\":{{}},\"faults\":[]}}"
    );
    let errors = errors_of("t.json", &text);
    let error = errors.iter().find(|e| e.message().contains("`n2`"));
    let error = error.expect("there is no such node");
    assert!(
        error.location().column > 100_000,
        "{}",
        error.location().column
    );
    insta::assert_snapshot!("a_long_line", render(std::slice::from_ref(error), false));
    // All the others are shown too.
    assert!(
        render(&errors, false)
            .lines()
            .all(|line| line.chars().count() < 400)
    );
}

#[test]
fn what_is_no_text_file_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let message = |path: &Path| {
        let errors = load(path, &PlanOptions::default()).expect_err("no scenario");
        errors[0].message().to_owned()
    };
    assert!(message(folder.path()).contains("is a directory"));
    assert!(message(&folder.path().join("none.yaml")).contains("can't read"));
    let binary = folder.path().join("binary.yaml");
    std::fs::write(&binary, b"name: x\n\xff\xfe").expect("it can be written");
    assert!(message(&binary).contains("not UTF-8 text: line 2"));
}
