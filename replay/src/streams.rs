//! Something for each stream of a log, found by its number.
//!
//! Streams are numbered densely in the order they appear, so a vector is the map; a pass over the log
//! hashes nothing.
//!
//! Invariant: a stream that another share holds costs a [`Place`], which is no larger than a pointer.

/// One value a stream.
pub(crate) struct Streams<T> {
    places: Vec<Place>,
    /// Boxed, so that growing moves pointers and not states.
    values: Vec<Box<T>>,
}

/// Where a stream's value is.
#[derive(Clone, Copy)]
enum Place {
    /// It has not been asked for.
    Unseen,
    /// Another has it.
    Elsewhere,
    /// Here.
    At(u32),
}

impl<T> Streams<T> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), values: Vec::new() }
    }

    /// The stream's value, made where this is its first commit.
    pub(crate) fn of(&mut self, number: u32, new: impl FnOnce() -> T) -> &mut T {
        match self.own(number, || Some(new())) {
            Some(value) => value,
            None => unreachable!("what is asked for so is never held elsewhere"),
        }
    }

    /// The stream's value, made where this is its first commit; `None`, from then on, where another has it.
    pub(crate) fn own(&mut self, number: u32, new: impl FnOnce() -> Option<T>) -> Option<&mut T> {
        let number = number as usize;
        if self.places.len() <= number {
            self.places.resize(number + 1, Place::Unseen);
        }
        let place = self.places.get_mut(number)?;
        if let Place::Unseen = place {
            // There are no more values than numbers, which are of 32 bits.
            *place = match (new(), u32::try_from(self.values.len())) {
                (Some(value), Ok(at)) => {
                    self.values.push(Box::new(value));
                    Place::At(at)
                }
                (_, _) => Place::Elsewhere,
            };
        }
        match *place {
            Place::At(at) => self.values.get_mut(at as usize).map(AsMut::as_mut),
            Place::Unseen | Place::Elsewhere => None,
        }
    }

    /// Every value, in the order the streams first appeared.
    pub(crate) fn into_values(self) -> impl Iterator<Item = T> {
        self.values.into_iter().map(|value| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, Streams};

    #[test]
    fn a_stream_held_elsewhere_costs_no_more_than_a_pointer() {
        assert!(size_of::<Place>() <= size_of::<usize>());
        let mut streams: Streams<[u8; 4_096]> = Streams::new();
        for number in 0..1_000 {
            assert!(streams.own(number, || None).is_none());
            assert!(streams.own(number, || Some([0; 4_096])).is_none(), "asked once");
        }
        assert!(streams.values.is_empty() && streams.values.capacity() == 0);
    }

    #[test]
    fn values_are_found_again_and_come_out_as_they_first_appeared() {
        let mut streams = Streams::new();
        assert_eq!(streams.of(3, || 30), &mut 30);
        assert!(streams.own(1, || None).is_none());
        *streams.of(0, || 1) += 1;
        assert_eq!(streams.of(0, || 9), &mut 2);
        assert_eq!(streams.into_values().collect::<Vec<_>>(), [30, 2]);
    }
}
