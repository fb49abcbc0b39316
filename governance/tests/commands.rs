//! A commit says which command it came from: what lets a recorded decision be made again and compared.

use ephor_governance::event::Event;
use ephor_governance::strategy::Command;
use ephor_governance::token::Grant;
use ephor_governance::{system, token};
use proptest::prelude::*;

use crate::given::{World, grant, read, second};
use crate::histories::{Step, history};

#[test]
fn revoking_all_tokens_while_one_expires_gives_its_command_back() {
    let mut world = World::registered();
    for (name, seconds) in [("short", 5), ("long", 100)] {
        world.tell(&Command::IssueToken(Grant { expires_at: second(seconds), ..grant(name) })).unwrap();
    }
    world.at = second(10);
    let revoke = Command::RevokeTokens { id: None, by: read("alice"), reason: "test".into() };
    let events = world.decide(&revoke).unwrap();
    assert!(matches!(events[0], Event::TokenChanged(token::Event::Expired { .. })));
    assert_eq!(world.decide(&Command::of(&events).unwrap()).unwrap(), events);
}

#[test]
fn a_commit_without_a_command_gives_none() {
    assert_eq!(Command::of(&[]), None);
    assert_eq!(system::Command::of(&[]), None);
    let expired = token::Event::Expired { id: read("token-1"), expired_at: second(1) };
    assert_eq!(Command::of(&[Event::TokenChanged(expired)]), None);
}

fn same_again(world: &World, act: &Step) -> Result<(), TestCaseError> {
    match act {
        Step::Strategy(command) => {
            if let Ok(events) = world.decide(command) {
                let found = Command::of(&events).map(|found| world.decide(&found));
                prop_assert_eq!(found, Some(Ok(events)), "{:?}", command);
            }
        }
        Step::System(command) => {
            if let Ok(events) = system::decide(&world.system, command) {
                let found = system::Command::of(&events).map(|found| system::decide(&world.system, &found));
                prop_assert_eq!(found, Some(Ok(events)), "{:?}", command);
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_command_found_in_a_commit_gives_the_same_commit(history in history()) {
        let mut world = World::registered();
        for next in &history {
            world.at = world.at.plus_seconds(next.seconds);
            same_again(&world, &next.act)?;
            world.act(&next.act);
        }
    }
}
