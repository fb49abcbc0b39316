//! Something for each stream of a log, found by its number.
//!
//! Streams are numbered densely in the order they appear, so a vector is the map; a pass over the log
//! hashes nothing.

/// One value a stream.
pub(crate) struct Streams<T>(Vec<Option<Box<T>>>);

impl<T> Streams<T> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// The stream's value, made where this is its first commit.
    pub(crate) fn of(&mut self, number: u32, new: impl FnOnce() -> T) -> &mut T {
        let place = number as usize;
        if self.0.len() <= place {
            self.0.resize_with(place + 1, || None);
        }
        match self.0.get_mut(place) {
            Some(slot) => slot.get_or_insert_with(|| Box::new(new())),
            None => unreachable!("the vector has just been made long enough"),
        }
    }

    /// Every value, in the order the streams first appeared.
    pub(crate) fn into_values(self) -> impl Iterator<Item = T> {
        self.0.into_iter().flatten().map(|value| *value)
    }
}
