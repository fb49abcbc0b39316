//! Names as one level of a topic.

/// A level of a topic: what MQTT gives a meaning is written as `%` and two digits.
pub(super) fn level(name: &str) -> String {
    let mut level = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '+' => level.push_str("%2B"),
            '#' => level.push_str("%23"),
            '/' => level.push_str("%2F"),
            '%' => level.push_str("%25"),
            '$' => level.push_str("%24"),
            plain => level.push(plain),
        }
    }
    level
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_level_of_a_topic_and_can_be_read_back() {
        assert_eq!(level("EMAX-GBPUSD-M5-001"), "EMAX-GBPUSD-M5-001");
        assert_eq!(level("a/b+#$%"), "a%2Fb%2B%23%24%25");
    }
}
