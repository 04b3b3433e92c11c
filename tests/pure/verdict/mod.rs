//! Verdicts and reports on records made by hand: what the lab would have written, event by event.

mod agreement;
mod cast;
mod causes;
mod expectations;
mod faults;
mod formats;
mod hostile;
mod large;
mod outcomes;
mod parts;
mod properties;
mod reading;
mod recovery;
mod reports;
mod standing;
pub(crate) mod stories;
mod story;
mod struck;
mod work;
