//! Rust source as far as the checks need it: code without its comments and texts, paths, attributes.
//!
//! Not a parser. It knows where comments and literals end, because a rule about code must not trip over
//! a sentence that names what is forbidden.

use std::iter::Peekable;

/// The code alone: comments, texts and character literals become blanks, lines stay where they are.
pub(crate) fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_or_comment(&chars, at);
        if end > at {
            code.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        } else {
            code.push(chars[at]);
            at += 1;
        }
    }
    code
}

/// Where the comment or literal that begins at `at` ends; `at` itself where none does.
fn literal_or_comment(chars: &[char], at: usize) -> usize {
    let char_at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let find = |from: usize, wanted: &[char]| {
        (from..chars.len()).find(|i| chars[*i..].starts_with(wanted)).map_or(chars.len(), |i| i + wanted.len())
    };
    let inside_word = at > 0 && is_word(char_at(at - 1));
    match (char_at(at), char_at(at + 1)) {
        ('/', '/') => (at..chars.len()).find(|i| chars[*i] == '\n').unwrap_or(chars.len()),
        ('/', '*') => {
            let (mut depth, mut i) = (1, at + 2);
            while depth > 0 && i < chars.len() {
                match (char_at(i), char_at(i + 1)) {
                    ('/', '*') => (depth, i) = (depth + 1, i + 2),
                    ('*', '/') => (depth, i) = (depth - 1, i + 2),
                    _other => i += 1,
                }
            }
            i.min(chars.len())
        }
        ('"', _) => text_end(chars, at + 1),
        ('b' | 'c', '"') if !inside_word => text_end(chars, at + 2),
        ('r', '"' | '#') | ('b' | 'c', 'r') if !inside_word => {
            let after_r = at + if char_at(at) == 'r' { 1 } else { 2 };
            let hashes = chars[after_r.min(chars.len())..].iter().take_while(|c| **c == '#').count();
            if char_at(after_r + hashes) != '"' {
                return at;
            }
            let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            find(after_r + hashes + 1, &closing)
        }
        // A quote is a character only if it closes again; else it begins a lifetime.
        ('\'', '\\') => find(at + 3, &['\'']),
        ('\'', _) if char_at(at + 2) == '\'' => at + 3,
        _code => at,
    }
}

fn text_end(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _other => at += 1,
        }
    }
    chars.len()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A word or a sign, with the line it stands on, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

/// Words, `::`, and single signs.
pub(crate) fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    for (line, text) in (1..).zip(code.lines()) {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let len = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            let (text, behind) = rest.split_at(len);
            found.push(Token { text, line });
            rest = behind.trim_start();
        }
    }
    found
}

/// Every path below `root` with its line, groups taken apart: `std::{fs, sync::Mutex}` are two.
pub(crate) fn paths_below(root: &str, tokens: &[Token<'_>]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (i, pair) in tokens.windows(2).enumerate() {
        let begins = i == 0 || tokens[i - 1].text != "::" || i == 1 || !is_name(tokens[i - 2].text);
        if begins && pair[0].text == root && pair[1].text == "::" {
            tree(&mut tokens[i + 2..].iter().peekable(), root, &mut found);
        }
    }
    found
}

fn is_name(text: &str) -> bool {
    text.chars().next().is_some_and(is_word)
}

fn tree<'a>(rest: &mut Peekable<impl Iterator<Item = &'a Token<'a>>>, prefix: &str, found: &mut Vec<(usize, String)>) {
    let Some(first) = rest.next() else { return };
    if first.text == "{" {
        while rest.peek().is_some_and(|next| next.text != "}") {
            tree(rest, prefix, found);
            while rest.peek().is_some_and(|next| next.text != "," && next.text != "}") {
                rest.next();
            }
            if rest.peek().is_some_and(|next| next.text == ",") {
                rest.next();
            }
        }
        rest.next();
        return;
    }
    if !is_name(first.text) && first.text != "*" {
        return;
    }
    let path = format!("{prefix}::{}", first.text);
    if rest.peek().is_some_and(|next| next.text == "::") {
        rest.next();
        if rest.peek().is_some_and(|next| is_name(next.text) || next.text == "{" || next.text == "*") {
            tree(rest, &path, found);
            return;
        }
    }
    found.push((first.line, path));
}

/// The words of every attribute, with its line.
pub(crate) fn attributes<'a>(tokens: &[Token<'a>]) -> Vec<(usize, Vec<&'a str>)> {
    let mut found = Vec::new();
    for (i, token) in tokens.iter().enumerate().filter(|(_, token)| token.text == "#") {
        let bang = usize::from(tokens.get(i + 1).is_some_and(|next| next.text == "!"));
        if tokens.get(i + 1 + bang).is_none_or(|next| next.text != "[") {
            continue;
        }
        let mut depth = 0;
        let inside = tokens[i + 1 + bang..].iter().take_while(|token| {
            depth += i32::from(token.text == "[") - i32::from(token.text == "]");
            depth > 0
        });
        found.push((token.line, inside.map(|token| token.text).collect()));
    }
    found
}

/// Lines before the tests that a file ends with.
pub(crate) fn lines_without_tests(source: &str) -> usize {
    let lines: Vec<&str> = source.lines().collect();
    let tests = lines.windows(2).position(|pair| {
        pair[0].trim() == "#[cfg(test)]"
            && pair[1].trim_start().starts_with("mod ")
            && pair[1].trim_end().ends_with('{')
    });
    tests.unwrap_or(lines.len())
}

#[test]
fn code_is_what_is_neither_comment_nor_text() {
    let source = "a /* b /* c */ d */ e // f\n\"g \\\" h\" i r#\"j\" k\"# 'l' m: &'n o '\\'' br\"p\" q";
    let words: Vec<String> = tokens(&code_only(source)).iter().map(|token| token.text.to_owned()).collect();
    assert_eq!(words, ["a", "e", "i", "m", ":", "&", "'", "n", "o", "q"]);
    assert_eq!(code_only(source).lines().count(), 2);
}

#[test]
fn a_group_of_paths_is_taken_apart() {
    let code = "use std::{fs::{self, File}, sync::{Arc, Mutex}, *};\nlet x = std::env::var(1); my::std::fs::y();";
    let found: Vec<String> = paths_below("std", &tokens(code)).into_iter().map(|(_, path)| path).collect();
    let expected = ["std::fs::self", "std::fs::File", "std::sync::Arc", "std::sync::Mutex", "std::*", "std::env::var"];
    assert_eq!(found, expected);
}
