//! One page for each event, with facts that the code vouches for. `BLESS=1` rewrites the facts.

#![allow(clippy::panic, reason = "a test says what is wrong")]

use std::fs;
use std::path::Path;

use basin_core::event::{EventKind, InstanceMode, Later, Mode, OutState, Verdict};
use basin_core::reply::Reply;

const BEGIN: &str = "<!-- facts: made from the code; BLESS=1 rewrites them -->\n";
const END: &str = "<!-- end of facts -->\n";

fn verdicts() -> Vec<Verdict> {
    let reply = || Reply::with(450, 7, 1, "no");
    vec![
        Verdict::Next,
        Verdict::SkipRemaining,
        Verdict::Accept,
        Verdict::Consume(reply()),
        Verdict::Refuse(reply()),
        Verdict::DropSession(reply()),
        Verdict::AwaitInput(reply()),
        Verdict::AwaitOctets(reply(), 1),
        Verdict::Discard,
        Verdict::Hold(String::new()),
        Verdict::Defer(Later { reply: reply(), after: std::time::Duration::ZERO }),
        Verdict::BadMail(String::new()),
        Verdict::WaiveUpTo(1),
        Verdict::Resolved,
        Verdict::Expand(Vec::new()),
        Verdict::Hops(Vec::new()),
        Verdict::Hosts(Vec::new()),
        Verdict::Delivered,
        Verdict::Suppress,
        Verdict::SendFirst(String::new()),
        Verdict::SendBlob(Vec::new()),
        Verdict::SkipRecipient(reply()),
        Verdict::SkipMessage(reply()),
        Verdict::TreatAs(reply()),
        Verdict::ChangeState(OutState::SessionEnd),
    ]
}

fn facts(event: EventKind) -> String {
    let words = |words: Vec<String>| if words.is_empty() { "none".to_owned() } else { words.join(", ") };
    let kind = if event.is_notice() { "notice: nobody waits" } else { "question: somebody waits for the verdict" };
    let bound =
        if event.can_be_bound() { "by its name" } else { "to nobody: raised for the binding that asked for input" };
    let verdicts =
        verdicts().iter().filter(|verdict| event.allows(verdict)).map(|v| format!("`{}`", v.word())).collect();
    let policies = event.policies().iter().enumerate();
    let policies = policies.map(|(index, policy)| {
        let word = format!("`{}`", policy.word());
        if index == 0 { format!("{word} (default)") } else { word }
    });
    let fields = basin_core::event::rule::fields_of(event).iter().map(|field| format!("`{field}`")).collect();
    format!(
        "| | |\n|---|---|\n| kind | {kind} |\n| bound | {bound} |\n| verdicts | {} |\n| failure policies | {} |\n| rule fields | {} |\n",
        words(verdicts),
        words(policies.collect()),
        words(fields),
    )
}

#[test]
fn every_event_has_a_page_whose_facts_are_those_of_the_code() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/events");
    let index = fs::read_to_string(folder.join("README.md")).expect("the index is there");
    for event in EventKind::ALL.iter().copied() {
        let path = folder.join(format!("{event}.md"));
        let page = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(page.starts_with(&format!("# {event}\n")), "{event} has its name as title");
        assert!(index.contains(&format!("[{event}]({event}.md)")), "{event} is in the index");
        let (head, rest) = page.split_once(BEGIN).unwrap_or_else(|| panic!("{event} has no facts"));
        let (found, tail) = rest.split_once(END).unwrap_or_else(|| panic!("{event} has no end of facts"));
        let expected = facts(event);
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, format!("{head}{BEGIN}{expected}{END}{tail}")).expect("the page can be written");
        } else {
            assert_eq!(found, expected, "{event}: run BLESS=1 cargo test -p basin-tests --test event_pages");
        }
    }
}

#[test]
fn the_index_names_every_mode_and_every_life_of_an_instance() {
    let index = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/events/README.md");
    let index = fs::read_to_string(index).expect("the index is there");
    let words = Mode::ALL.iter().map(|mode| mode.word()).chain(InstanceMode::ALL.iter().map(|life| life.word()));
    for word in words {
        assert!(index.contains(&format!("\n| `{word}` |")), "{word} has a row in docs/events/README.md");
    }
}
