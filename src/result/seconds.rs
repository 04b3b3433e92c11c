//! Durations as seconds, rounded to the microsecond.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

fn number(time: Duration) -> f64 {
    let microseconds = (time.as_nanos() + 500) / 1000;
    // Exact up to 2^53 microseconds, some 285 years.
    microseconds as f64 / 1e6
}

fn duration<E: Error>(seconds: f64) -> Result<Duration, E> {
    let time = Duration::try_from_secs_f64(seconds).map_err(E::custom)?;
    // Back to the microsecond that was meant.
    Ok(Duration::from_nanos(
        (time.as_nanos() as u64 + 500) / 1000 * 1000,
    ))
}

pub(crate) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(number(*time))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    duration(f64::deserialize(from)?)
}

/// `None` as null.
pub(crate) mod option {
    use super::{Deserialize, Deserializer, Duration, Serializer, duration, number};

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => to.serialize_f64(number(*time)),
            None => to.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Option::<f64>::deserialize(from)?.map(duration).transpose()
    }
}

/// Several, `None` as null.
pub(crate) mod options {
    use super::{Deserialize, Deserializer, Duration, Serializer, duration, number};

    pub(crate) fn serialize<S: Serializer>(
        times: &[Option<Duration>],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(times.iter().map(|time| time.map(number)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Option<Duration>>, D::Error> {
        let seconds = Vec::<Option<f64>>::deserialize(from)?;
        let each = seconds.into_iter();
        each.map(|s| s.map(duration).transpose()).collect()
    }
}

/// Several.
pub(crate) mod list {
    use super::{Deserialize, Deserializer, Duration, Serializer, duration, number};

    pub(crate) fn serialize<S: Serializer>(times: &[Duration], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(times.iter().map(|time| number(*time)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Duration>, D::Error> {
        let seconds = Vec::<f64>::deserialize(from)?;
        seconds.into_iter().map(duration).collect()
    }
}
