//! Lines under lines, drawn as a tree.

use crate::cli::sentence::add;

/// A line and what stands under it.
pub(super) struct Node {
    line: String,
    under: Vec<Node>,
}

impl Node {
    pub(super) const fn new(line: String) -> Self {
        Self { line, under: Vec::new() }
    }

    /// Puts a line under this one, and gives it.
    pub(super) fn push(&mut self, node: Self) -> &mut Self {
        self.under.push(node);
        let last = self.under.len() - 1;
        match self.under.get_mut(last) {
            Some(node) => node,
            None => unreachable!("a node has just been pushed"),
        }
    }

    /// The whole tree.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{}\n", self.line);
        self.draw("", &mut text);
        text
    }

    fn draw(&self, before: &str, to: &mut String) {
        let last = self.under.len().saturating_sub(1);
        for (place, node) in self.under.iter().enumerate() {
            let (branch, below) = if place == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            add(to, format_args!("{before}{branch}{}", node.line));
            node.draw(&format!("{before}{below}"), to);
        }
    }
}
