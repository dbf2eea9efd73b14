use basin_core::mail::{Arrival, Body, Envelope, Origin};

use super::*;
use crate::clock::now;

pub(crate) fn message(number: u64, size: usize) -> Message {
    let arrival = Arrival {
        origin: Origin::Smtp,
        at: Timestamp::from_seconds(0),
        listener: String::new(),
        client: None,
        server: None,
        helo: None,
        is_esmtp: true,
        session: None,
        depth: 0,
        vouched: Default::default(),
    };
    let id = MessageId::new(Timestamp::from_seconds(0), number);
    let mut message = Message::new(id, arrival, Envelope::new(None));
    message.body = Body::from_bytes(vec![0; size]);
    message
}

fn gone(id: &MessageId) -> Box<Message> {
    Box::new(Message { id: id.clone(), ..message(0, 0) })
}

#[test]
fn a_backlog_is_not_kept_in_memory() {
    let mut waiting = Waiting::default();
    let large = usize::try_from(KEPT_BYTES_MAX).expect("fits") - 3_000;
    waiting.stored(message(1, large), State::default());
    waiting.stored(message(2, 1_000), State::default());
    assert!(matches!(waiting.take().map(|due| due.start), Some(Start::Fresh(_))));
    assert!(matches!(waiting.take().map(|due| due.start), Some(Start::Load)));
    waiting.stored(message(3, 1_000), State::default());
    assert!(matches!(waiting.take().map(|due| due.start), Some(Start::Fresh(_))), "there is room again");
}

#[test]
fn small_messages_count_for_more_than_their_octets() {
    let mut waiting = Waiting::default();
    (0..20_000).for_each(|number| waiting.stored(message(number, 10), State::default()));
    let kept = std::iter::from_fn(|| waiting.take()).filter(|due| matches!(due.start, Start::Fresh(_))).count();
    assert!((1_000..10_000).contains(&kept), "{kept} were kept");
}

#[test]
fn an_operator_who_takes_a_message_gives_its_memory_back() {
    let mut waiting = Waiting::default();
    let kept = message(1, 1_000);
    waiting.stored(kept.clone(), State::default());
    assert_eq!(waiting.seize(&kept.id), Ok(()));
    assert_eq!((waiting.kept_bytes, waiting.has_ready(), waiting.busy()), (0, false, 1));
}

#[test]
fn while_the_storage_is_out_of_order_the_backlog_stays_on_disk() {
    let mut waiting = Waiting::default();
    let count = u64::try_from(REPETITIONS_MAX).expect("fits") + 10;
    (0..count).for_each(|number| waiting.found(message(number, 0).id));
    let later = Timestamp::from_seconds(30);
    while let Some(due) = waiting.take() {
        waiting.done(&due.id, After::Again(Again::Removal(gone(&due.id), End::Delivered), later), now());
    }
    assert_eq!(waiting.repetitions.len(), REPETITIONS_MAX);
    assert_eq!(waiting.seize(&message(0, 0).id), Err(IsBusy));
    waiting.wake(later);
    assert_eq!(waiting.seize(&message(0, 0).id), Err(IsBusy), "nor is it taken away while it stands in line");
    let rest = std::iter::from_fn(|| waiting.take()).map(|due| matches!(due.start, Start::Again(_)));
    let rest: Vec<bool> = rest.collect();
    assert_eq!(rest.iter().filter(|is_again| **is_again).count(), REPETITIONS_MAX);
    assert_eq!(rest.len() as u64, count, "those that waited on disk come behind them");
    assert!(rest.is_sorted_by(|a, b| a >= b));
}

#[test]
fn a_message_is_never_with_two_workers() {
    let mut waiting = Waiting::default();
    let (one, id) = (message(1, 0), message(1, 0).id);
    waiting.stored(one.clone(), State::default());
    waiting.found(id.clone());
    assert!(waiting.take().is_some());
    waiting.found(id.clone());
    waiting.stored(one, State::default());
    assert!(waiting.take().is_none());
    assert_eq!(waiting.seize(&id), Err(IsBusy));
    waiting.done(&id, After::Nothing, now());
    assert_eq!(waiting.seize(&id), Ok(()));
    waiting.found(id.clone());
    assert!(waiting.take().is_none(), "the operator has it");
    waiting.done(&id, After::Nothing, now());
    waiting.found(id);
    assert!(matches!(waiting.take().map(|due| due.start), Some(Start::Load)));
}

#[test]
fn what_waits_for_a_time_comes_back_then() {
    let mut waiting = Waiting::default();
    let id = message(1, 0).id;
    waiting.done(&id, After::Wait(Timestamp::from_seconds(10)), now());
    assert_eq!(waiting.wake(Timestamp::from_seconds(9)), Some(Timestamp::from_seconds(10)));
    assert!(!waiting.has_ready());
    assert_eq!(waiting.wake(Timestamp::from_seconds(10)), None);
    assert_eq!(waiting.take().map(|due| due.id), Some(id));
}

#[test]
fn a_notification_sets_out_when_what_it_is_about_rests() {
    let mut waiting = Waiting::default();
    let (about, notification) = (message(1, 0).id, message(2, 0).id);
    waiting.found(about.clone());
    assert!(waiting.take().is_some());
    waiting.announce(about.clone(), notification.clone());
    waiting.announce(about.clone(), notification.clone());
    let removal = Again::Removal(gone(&about), End::Failed);
    waiting.done(&about, After::Again(removal, Timestamp::from_seconds(30)), now());
    assert!(!waiting.has_ready(), "the disk does not say yet that the sender was told");
    waiting.wake(Timestamp::from_seconds(30));
    assert_eq!(waiting.take().map(|due| due.id), Some(about.clone()));
    waiting.done(&about, After::Nothing, now());
    assert_eq!(waiting.take().map(|due| due.id), Some(notification));
    assert!(!waiting.has_ready(), "once");
}

#[test]
fn after_a_start_notifications_about_what_nobody_works_on_set_out() {
    let mut waiting = Waiting::default();
    let (about, notification) = (message(1, 0).id, message(2, 0).id);
    waiting.announce(about, notification.clone());
    assert!(!waiting.has_ready());
    waiting.all_read();
    assert_eq!(waiting.take().map(|due| due.id), Some(notification));
}

#[test]
fn nothing_leaves_while_too_much_of_what_happened_cannot_be_written() {
    let mut waiting = Waiting::default();
    let later = Timestamp::from_seconds(30);
    let ids = (0..u64::try_from(REPETITIONS_MAX).expect("fits")).map(|number| message(number, 0).id);
    for id in ids {
        assert!(!waiting.is_storage_failing());
        assert!(waiting.claim(&id).is_none());
        let removal = Again::Removal(gone(&id), End::Delivered);
        waiting.done(&id, After::Again(removal, later), now());
    }
    assert!(waiting.is_storage_failing());
    waiting.wake(later);
    assert!(waiting.is_storage_failing(), "that it is tried again does not mean that it is written");
    while let Some(due) = waiting.take() {
        waiting.done(&due.id, After::Nothing, now());
    }
    assert!(!waiting.is_storage_failing());
}
