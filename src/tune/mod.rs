//! Which settings? Each one's recovery from a loss of power against the silence that a healthy connection survives.
//!
//! `setting` makes the settings, `foreseen` asks the timeout model about each, `measure` runs those that decide, `front` and
//! `advice` say what follows. What the model can't tell apart is run once, and what it is sure of is checked by samples: a
//! sample that contradicts it makes all that rests on the same timer be run.

mod advice;
mod bisection;
mod foreseen;
mod front;
mod knob;
mod measure;
mod of_client;
mod points;
mod result;
mod setting;
mod share;
mod trial;
mod tuner;
mod vary;

pub use result::{By, ClientTuning, Impossible, Killed, PhaseRecovery, Point, Tuning};
pub use share::Share;
pub use tuner::{Options, TuneError, tune};
