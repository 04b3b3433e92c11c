//! No text, however broken, makes the reader panic, hang, or point outside of the file.

use halfopen::scenario::{PlanOptions, parse, render};
use proptest::prelude::*;

const EVERYTHING: &str = include_str!("../../fixtures/scenarios/everything.yaml");
const QUICKSTART: &str = include_str!("../../scenarios/quickstart.yaml");

/// Reads a text to the end, whatever it is; true where it is a scenario.
fn read(text: &str) -> Result<bool, TestCaseError> {
    let errors = match parse("random.yaml", text, &PlanOptions::default()) {
        Ok(_) => return Ok(true),
        Err(errors) => errors,
    };
    prop_assert!(!errors.is_empty(), "an error without a word");
    let lines: Vec<&str> = text.lines().collect();
    for error in &errors {
        let defect = error.message().contains("a defect of halfopen");
        prop_assert!(!defect, "{}", error);
        let location = error.location();
        prop_assert!(
            location.line >= 1 && location.line <= lines.len().max(1) + 1,
            "{:?}",
            location
        );
        let line = lines.get(location.line - 1).copied().unwrap_or_default();
        prop_assert!(
            location.column + location.length
                <= line.chars().count() + 1 + usize::from(location.length == 0),
            "{:?}",
            location
        );
        if error.message().ends_with("more errors") {
            continue;
        }
        prop_assert_eq!(location.text.as_str(), line);
    }
    prop_assert!(render(&errors, false).contains("random.yaml"));
    Ok(false)
}

/// Words a scenario is made of, and what may stand between them.
fn token() -> impl Strategy<Value = String> {
    let words = [
        "name",
        "nodes",
        "servers",
        "clients",
        "faults",
        "expect",
        "matrix",
        "expect_when",
        "profiles",
        "service",
        "poll",
        "every",
        "at",
        "when",
        "fault",
        "power_loss",
        "node",
        "url",
        "profile",
        "off",
        "null",
        "~",
        "1s",
        "-1",
        "99999999999",
        "https://a/",
        "&a",
        "*a",
        "!!str",
        "<<",
        "|",
        ">",
        "'",
        "\"",
        "{",
        "}",
        "[",
        "]",
        ":",
        ": ",
        ",",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "---\n",
        "...\n",
        "#",
        "\t",
        "\u{feff}",
        "é",
        "\0",
        "? ",
        "%YAML 1.2\n",
    ];
    prop::sample::select(words.to_vec()).prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn random_words(words in prop::collection::vec(token(), 0..80)) {
        read(&words.concat())?;
    }

    #[test]
    fn a_scenario_with_a_piece_replaced(
        quickstart in any::<bool>(),
        at in any::<prop::sample::Index>(),
        length in 0_usize..40,
        words in prop::collection::vec(token(), 0..4),
    ) {
        let text = if quickstart { QUICKSTART } else { EVERYTHING };
        let mut text: Vec<char> = text.chars().collect();
        let start = at.index(text.len());
        let end = (start + length).min(text.len());
        text.splice(start..end, words.concat().chars());
        read(&text.into_iter().collect::<String>())?;
    }

    #[test]
    fn a_scenario_with_a_line_moved(from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(), indent in 0_usize..6) {
        let mut lines: Vec<String> = EVERYTHING.lines().map(str::to_owned).collect();
        let line = lines.remove(from.index(lines.len()));
        lines.insert(to.index(lines.len()), format!("{}{}", " ".repeat(indent), line.trim_start()));
        read(&(lines.join("\n") + "\n"))?;
    }
}

#[test]
fn the_unchanged_scenarios_are_read() {
    for text in [EVERYTHING, QUICKSTART] {
        assert!(read(text).expect("no complaint of the reader"));
    }
}

#[test]
fn deep_and_wide_texts_end_soon() {
    let started = std::time::Instant::now();
    for text in [
        "[".repeat(900_000),
        "a: ".repeat(200_000),
        "- ".repeat(400_000),
        "{a: ".repeat(200_000),
        "x: 1\n".repeat(200_000),
    ] {
        assert!(!read(&text).expect("no complaint of the reader"));
    }
    let wide: String = (0..90_000).map(|n| format!("k{n}: 1\n")).collect();
    assert!(!read(&wide).expect("no complaint of the reader"));
    // A bound against quadratic work, far from what a slow machine needs.
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
