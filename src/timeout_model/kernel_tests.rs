use proptest::prelude::*;

use super::*;

fn window(retries2: u32, rto_max_ms: u64) -> Window {
    let sysctls = TcpSysctls {
        retries2,
        rto_max_ms,
        ..TcpSysctls::default()
    };
    retransmission(&sysctls, Path::default(), None, Kernel::default())
}

#[test]
fn measured_outages_lie_in_their_windows() {
    // Measured on a 6.18 kernel (HZ=250), and under User Mode Linux (HZ=250 and 1000).
    let measured = [
        (15, 120_000, 937.8),
        (15, 120_000, 934.9),
        (15, 120_000, 939.0),
        (15, 120_000, 949.3),
        (8, 120_000, 106.0),
        (8, 120_000, 108.0),
        (5, 120_000, 13.3),
        (3, 120_000, 6.7),
        (15, 10_000, 115.7),
        (15, 1_000, 15.0),
    ];
    for (retries2, rto_max, seconds) in measured {
        let window = window(retries2, rto_max);
        let seconds = Duration::from_secs_f64(seconds);
        assert!(
            window.min <= seconds && seconds <= window.max,
            "{retries2}/{rto_max}: {seconds:?} in {window:?}"
        );
    }
}

#[test]
fn windows_are_no_wider_than_one_rto_with_its_rounding() {
    for (retries2, rto) in [(15, 122.88), (9, 122.88), (8, 122.88), (5, 15.0), (3, 4.0)] {
        let window = window(retries2, 120_000);
        let width = (window.max - window.min).as_secs_f64();
        assert!(width <= rto + 0.7, "tcp_retries2={retries2}: {window:?}");
    }
}

/// Seconds after the first sending, from the published packet capture; the last is the error.
const PUBLISHED: [f64; 16] = [
    0.402, 0.805, 1.610, 3.222, 6.446, 12.902, 25.798, 51.590, 103.174, 206.214, 326.534, 446.854,
    567.174, 687.494, 807.814, 928.134,
];

/// Largest difference in milliseconds between the published series and one that starts at jiffy `start`.
fn misfit(rounding: Rounding, hz: u64, first_rto: u64, start: u64) -> u128 {
    let series = Series {
        hz,
        rounding,
        start,
        first_rto,
        rto_max: 120 * hz,
        linear: 0,
    };
    let fires = series.fires().zip(&PUBLISHED[1..]);
    let differences = fires.map(|(t, published)| {
        let published = Duration::from_secs_f64(published - PUBLISHED[0]);
        t.abs_diff(published).as_millis()
    });
    differences.max().unwrap_or(u128::MAX)
}

#[test]
fn the_published_series_is_a_kernel_before_the_wheel_at_hz_1000() {
    // To the millisecond: first RTO 201 ms, slack rounding.
    assert_eq!(misfit(Rounding::Slack, 1000, 201, 12), 0);
    // The wheel fits for no HZ: its 120 s timer takes 120.832 s or 122.88 s, the capture's 120.320 s.
    for hz in HZ {
        let first_rto = (201 * hz).div_ceil(1000);
        let best = (0..4096)
            .map(|start| misfit(Rounding::Wheel, hz, first_rto, start))
            .min();
        assert!(best.is_some_and(|ms| ms > 500), "HZ={hz}: {best:?} ms");
    }
}

#[test]
fn connects_take_as_long_as_measured() {
    let at = |linear| {
        let sysctls = TcpSysctls {
            syn_linear_timeouts: linear,
            ..TcpSysctls::default()
        };
        connect(
            &sysctls,
            None,
            Kernel {
                version: Some((7, 3)),
                ..Kernel::default()
            },
        )
    };
    assert!(at(4).min >= Duration::from_secs(131) && at(4).min < Duration::from_secs(135));
    assert!(at(0).min >= Duration::from_secs(127) && at(0).min < Duration::from_secs(131));
    assert!(at(4).max >= Duration::from_secs(135));
}

#[test]
fn an_orphan_lives_as_long_as_measured_whatever_retries2_says() {
    for retries2 in [3, 15] {
        let sysctls = TcpSysctls {
            retries2,
            ..TcpSysctls::default()
        };
        let window = orphan(&sysctls, Path::default(), None, Kernel::default());
        let measured = Duration::from_secs(106);
        assert!((window.min..=window.max).contains(&measured), "{window:?}");
    }
}

#[test]
fn a_window_that_was_shut_for_long_makes_a_long_death() {
    let of = |answered| {
        zero_window(
            &TcpSysctls::default(),
            Path::default(),
            answered,
            Kernel::default(),
        )
    };
    assert_eq!(of(0).min, Duration::from_millis(924_600));
    // Measured: 1421 s, with some probes answered before.
    let measured = Duration::from_secs(1421);
    let windows: Vec<_> = (0..=10).map(of).collect();
    assert!(
        windows.iter().any(|w| (w.min..=w.max).contains(&measured)),
        "{windows:?}"
    );
    assert!(windows.is_sorted_by(|a, b| a.min <= b.min && a.max <= b.max));
}

#[test]
fn a_known_kernel_narrows_every_window() {
    let known = Kernel::of("7.3.4", Some(250));
    assert_eq!(known.version, Some((7, 3)));
    assert_eq!(
        Kernel::of("6.18.5-cloud-amd64", None).version,
        Some((6, 18))
    );
    let of = |kernel| retransmission(&TcpSysctls::default(), Path::default(), None, kernel);
    let (any, one) = (of(Kernel::default()), of(known));
    assert!(any.min <= one.min && one.max < any.max, "{any:?}, {one:?}");
    let syn = |version| {
        let kernel = Kernel {
            version,
            ..Kernel::default()
        };
        connect(&TcpSysctls::default(), None, kernel).min
    };
    assert!(syn(Some((6, 1))) < Duration::from_secs(131));
    assert!(syn(Some((7, 3))) >= Duration::from_secs(131));
}

/// Linux 7.3: measured 9.749 s and less with a TCP_USER_TIMEOUT of 9.547 s.
#[test]
fn a_user_timeout_of_a_dial_counts_from_the_first_syn() {
    let limit = Duration::from_millis(9_547);
    let window = connect(&TcpSysctls::default(), Some(limit), KNOWN);
    assert!(
        window.min >= limit - Duration::from_millis(40),
        "{window:?}"
    );
    assert!(
        window.min <= Duration::from_millis(9_628) && window.max >= Duration::from_millis(9_749),
        "{window:?}"
    );
    assert!(
        window.max < limit + Duration::from_millis(400),
        "{window:?}"
    );
}

/// Linux 7.3: measured 12.916 s with `tcp_rto_max_ms`=1928, where all SYNs would have taken 16.8 s.
#[test]
fn a_dial_ends_with_the_bound_of_its_retries() {
    let short = TcpSysctls {
        rto_max_ms: 1_928,
        ..TcpSysctls::default()
    };
    let window = connect(&short, None, KNOWN);
    let measured = Duration::from_millis(12_916);
    assert!((window.min..=window.max).contains(&measured), "{window:?}");
    // One retry is a bound of three seconds, and the linear timeouts have no more.
    let few = TcpSysctls {
        syn_retries: 1,
        ..TcpSysctls::default()
    };
    assert!(connect(&few, None, KNOWN).max < Duration::from_millis(4_200));
}

const KNOWN: Kernel = Kernel {
    hz: Some(250),
    version: Some((7, 3)),
};

#[test]
fn halving_finds_what_trying_all_does() {
    for (hz, start, bound) in [(250, 37, 3_000), (100, 4_000, 12_600), (1000, 77, 102_200)] {
        let bound = Duration::from_millis(bound);
        let series = |first_rto| Series {
            hz,
            rounding: Rounding::Wheel,
            start,
            first_rto,
            rto_max: 120 * hz,
            linear: 0,
        };
        let (low, high) = (hz / 5, hz / 5 * 3);
        let all = hull((low..=high).map(|rto| series(rto).gives_up(bound)));
        assert_eq!(ends_within(series, low, high, bound), all, "HZ={hz}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_user_timeout_moves_the_window_with_it(a in 1_u64..100, b in 1_u64..100) {
        let of = |s| retransmission(&TcpSysctls::default(), Path::default(), Some(Duration::from_secs(s)), Kernel::default());
        let (short, long) = (of(a.min(b)), of(a.max(b)));
        prop_assert!(short.min <= long.min && short.max <= long.max);
    }
}
