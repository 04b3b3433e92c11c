//! Faults: what breaks, where on the path, in which direction.
