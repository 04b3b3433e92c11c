//! What the servers of one service keep together, and what survives any of their nodes, as etcd does.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::record::Recorder;

/// What an app keeps in a store.
pub(super) trait Stored: 'static {
    /// The store called `name`, with nothing in it.
    fn empty(name: &str, recorder: Recorder) -> Self;
}

/// The stores of a lab, by what is kept in them and by name.
pub(super) struct Stores {
    recorder: Recorder,
    all: RefCell<HashMap<(TypeId, String), Rc<dyn Any>>>,
}

impl Stores {
    pub(super) fn new(recorder: Recorder) -> Self {
        Self {
            recorder,
            all: RefCell::default(),
        }
    }

    /// The store called `name`; it is made, empty, when it is first asked for.
    pub(super) fn get<T: Stored>(&self, name: &str) -> Rc<T> {
        let mut all = self.all.borrow_mut();
        let store = all
            .entry((TypeId::of::<T>(), name.to_owned()))
            .or_insert_with(|| Rc::new(T::empty(name, self.recorder.clone())));
        match Rc::clone(store).downcast() {
            Ok(store) => store,
            Err(_) => unreachable!("a store stands under its own type"),
        }
    }
}
