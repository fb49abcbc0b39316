//! The dictionary: streams and instruments, numbered from 1 in the order they first appeared.

use std::collections::HashMap;

use smol_str::SmolStr;

use crate::hashing::TextHash;

/// Names by number and numbers by name.
#[derive(Default)]
pub(crate) struct Names {
    list: Vec<SmolStr>,
    numbers: HashMap<SmolStr, u32, TextHash>,
}

impl Names {
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.list.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    pub(crate) fn get(&self, number: u32) -> Option<&SmolStr> {
        self.list.get(crate::bytes::index(u64::from(number.checked_sub(1)?)))
    }

    /// Gives the next number to `name`; `false` if it has one already.
    pub(crate) fn push(&mut self, name: SmolStr) -> bool {
        let number = self.len() + 1;
        if self.numbers.contains_key(&name) {
            return false;
        }
        self.numbers.insert(name.clone(), number);
        self.list.push(name);
        true
    }

    /// The names from number `first` on.
    pub(crate) fn from(&self, first: u32) -> &[SmolStr] {
        self.list.get(crate::bytes::index(u64::from(first.saturating_sub(1)))..).unwrap_or_default()
    }
}
