//! YAML with places: a tree of what stands where, decoding into types, the matrix, and every diagnostic.
//!
//! Nothing here knows what a scenario is.

mod cut_out;
pub(crate) mod decode;
pub(crate) mod diagnostic;
pub(crate) mod matrix;
pub(crate) mod on_or;
pub(crate) mod percent;
pub(crate) mod source;
pub(crate) mod tree;
pub(crate) mod value;

pub use diagnostic::{Diagnostic, render, render_within};
pub(crate) use diagnostic::{Problem, list, suggest};
pub(crate) use source::{Source, Span};
pub(crate) use value::{given, placed};
