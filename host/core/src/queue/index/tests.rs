use std::sync::Arc;

use super::*;
use crate::time::Timestamp;
use crate::transport::{Destination, HostPort, NextHop, Route, RouteTable};

const NOW: i64 = 1_700_000_000;

fn id(number: u64) -> MessageId {
    MessageId::new(Timestamp::from_seconds(NOW - 1_000_000 + i64::try_from(number).expect("small")), number)
}

fn recipient(address: &str, waits: Waits, reply: Option<&str>) -> RowRecipient {
    let (local, domain) = address.split_once('@').expect("an address");
    let reply = reply.map(str::to_owned);
    RowRecipient { local: local.to_owned(), domain: domain.to_owned(), route: None, waits, reply }
}

fn row(number: u64) -> Row {
    Row {
        id: id(number),
        sender_local: format!("sender{number}"),
        sender_domain: "here.example".to_owned(),
        recipients: vec![recipient("One@a.example", Waits::Pending, None)],
        recipient_count: 1,
        size: 1_000,
        arrived: Timestamp::from_seconds(NOW - 60),
        standing: Standing::Ready,
        attempts: 0,
        next_attempt: None,
        priority: 0,
        origin: "smtp".to_owned(),
        reason: None,
    }
}

fn rich() -> Row {
    let deferred = recipient("two@b.example", Waits::Deferred, Some("421 4.7.0 greylisted, come back"));
    let held = RowRecipient {
        route: Some("[relay.example]:2525".to_owned()),
        ..recipient("three@c.example", Waits::Held, Some("to look at"))
    };
    Row {
        recipients: vec![recipient("One@a.example", Waits::Pending, None), deferred, held],
        recipient_count: 5,
        size: 3 << 20,
        arrived: Timestamp::from_seconds(NOW - 10_000),
        standing: Standing::Deferred,
        attempts: 3,
        next_attempt: Some(Timestamp::from_seconds(NOW + 600)),
        priority: -4,
        origin: "sink:stamp".to_owned(),
        ..row(2)
    }
}

fn bounce() -> Row {
    let id = MessageId::parse(&format!("{}-n1", id(2))).expect("an id");
    let nobody = (String::new(), String::new());
    Row { id, sender_local: nobody.0, sender_domain: nobody.1, origin: "notification".to_owned(), ..row(3) }
}

fn foreign() -> Row {
    let reason = Some("a sink wanted it".to_owned());
    Row {
        id: MessageId::parse("From-Elsewhere-7").expect("an id"),
        standing: Standing::Held,
        recipients: vec![recipient("one@a.example", Waits::Pending, None)],
        reason,
        ..row(4)
    }
}

fn index() -> Index {
    let mut index = Index::default();
    [row(1), rich(), bounce(), foreign()].iter().for_each(|row| index.put(row));
    index
}

fn routes() -> Arc<RouteTable> {
    let hop = HostPort { host: "smart.example".to_owned(), port: 25 };
    let destination = Destination::hop(&hop);
    let route = Route { destination, next: NextHop::Hosts(vec![hop]), ..Route::mx("b.example") };
    Arc::new(RouteTable::new(vec![(vec![crate::transport::DomainPattern::parse("b.example")], Arc::new(route))]))
}

fn query(filter: &str) -> Query {
    Query::new(Filter::parse(filter).expect("a filter"), routes(), Timestamp::from_seconds(NOW))
}

fn found(index: &Index, filter: &str) -> Vec<(String, Option<Vec<usize>>)> {
    let slice = index.scan(&mut query(filter), None, usize::MAX);
    assert_eq!(slice.next, None);
    slice.found.into_iter().map(|one| (one.row.id.as_str().to_owned(), one.recipients)).collect()
}

fn places(index: &Index, filter: &str) -> Vec<usize> {
    let all = [row(1), rich(), bounce(), foreign()].map(|row| row.id.as_str().to_owned());
    let place = |id: &String| all.iter().position(|known| known == id).expect("a known id");
    found(index, filter).iter().map(|(id, _)| place(id)).collect()
}

#[test]
fn a_row_comes_back_as_it_was_put_in() {
    let index = index();
    for row in [row(1), rich(), bounce(), foreign()] {
        assert_eq!(index.row(&row.id), Some(row));
    }
    assert_eq!((index.len(), index.octets()), (4, 3_000 + (3 << 20)));
    let damaged = Row::damaged(id(9), 7, "no record".to_owned());
    let mut index = index;
    index.put(&damaged);
    assert_eq!(index.row(&damaged.id), Some(damaged));
}

#[test]
fn what_left_leaves_nothing_behind() {
    let mut index = index();
    for row in [row(1), rich(), bounce(), foreign()] {
        assert!(index.remove(&row.id));
        assert!(!index.remove(&row.id));
        assert!(!index.contains(&row.id));
    }
    assert_eq!((index.len(), index.octets(), index.texts()), (0, 0, 0));
    index.put(&rich());
    index.put(&Row { recipients: Vec::new(), reason: None, ..rich() });
    assert_eq!((index.len(), index.texts()), (1, 2), "the sender's domain and the origin are what is left");
}

#[test]
fn conditions_choose_messages_and_recipients() {
    let index = index();
    for (filter, wanted) in [
        ("", &[0, 1, 2, 3][..]),
        ("sender=*@HERE.example", &[0, 1, 3]),
        ("sender=<>", &[2]),
        ("sender!=<>", &[0, 1, 3]),
        ("recipient=<ONE@a.example>", &[0, 1, 2, 3]),
        ("domain=b.example|c.example", &[1]),
        ("domain!=a.example", &[1]),
        ("destination=[smart.example]:25", &[1]),
        ("destination=[relay.example]:*", &[1]),
        ("destination=a.example", &[0, 1, 2, 3]),
        ("age>2h", &[1]),
        ("age<=60s", &[0, 2, 3]),
        ("next<1h", &[1]),
        ("size>=3M", &[1]),
        ("size<3MiB;state=ready", &[0, 2]),
        ("state=held|deferred", &[1, 3]),
        ("state!=held", &[0, 1, 2]),
        ("reply=421*", &[1]),
        ("reply~greylist", &[1]),
        ("reply=~sink wanted", &[3]),
        ("reply!~421", &[0, 1, 2, 3]),
        ("attempts>0", &[1]),
        ("priority=-4", &[1]),
        ("recipients=5", &[1]),
        ("origin=sink:*|notification", &[1, 2]),
        ("id=from-elsewhere-7", &[3]),
        ("domain=b.example;reply=421*", &[1]),
        ("domain=a.example;reply=421*", &[]),
    ] {
        assert_eq!(places(&index, filter), wanted, "{filter}");
    }
    let chosen = |filter| found(&index, filter).pop().and_then(|(_, recipients)| recipients);
    assert_eq!(chosen("state=deferred"), None);
    assert_eq!(chosen("state=deferred;domain=a.example|c.example"), Some(vec![0, 2]));
    assert_eq!(chosen("state=deferred;recipient~two;domain=*"), Some(vec![1]));
}

#[test]
fn a_scan_in_slices_finds_what_one_scan_finds_though_messages_leave() {
    let mut index = Index::default();
    (0..1_000).for_each(|number| index.put(&row(number)));
    let whole = index.scan(&mut query("sender~sender7"), None, usize::MAX).found;
    assert_eq!(whole.len(), 111);
    let mut query = query("sender~sender7");
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let slice = index.scan(&mut query, after.as_ref(), 7);
        found.extend(slice.found);
        let Some(next) = slice.next else { break };
        // The place in the order stays where the message goes.
        index.remove(&next);
        after = Some(next);
    }
    assert_eq!(found, whole);
}

#[test]
fn a_query_forgets_what_it_knew_of_a_number_that_names_another_text_now() {
    let mut index = Index::default();
    let mut query = query("domain=a.example");
    index.put(&row(1));
    assert_eq!(index.scan(&mut query, None, 10).found.len(), 1);
    index.remove(&id(1));
    index.put(&Row { recipients: vec![recipient("one@other.example", Waits::Pending, None)], ..row(1) });
    assert_eq!(index.scan(&mut query, None, 10).found.len(), 0);
}

#[test]
fn named_messages_are_not_looked_for() {
    let ids = |text: &str| Filter::parse(text).expect("a filter").ids();
    assert_eq!(ids(&format!("id={}|{}", id(1), id(2))), Some(vec![id(1), id(2)]));
    assert_eq!(ids("id=000*"), None);
    assert_eq!(ids("id!=0001-1"), None);
    assert_eq!(ids("age>1h"), None);
    assert_eq!(ids("id=from-elsewhere-7"), None, "only its own spelling finds it in the tree");
    let selected = index().select(&mut query("age<1h"), &id(1)).map(|selected| selected.row);
    assert_eq!(selected, Some(row(1)));
    assert_eq!(index().select(&mut query("age>1h"), &id(1)), None);
}

#[test]
fn a_bad_filter_says_what_to_write() {
    let error = |text| Filter::parse(text).expect_err("no filter").to_string();
    assert!(error("recipents=1").contains("did you mean \"recipients\"?"));
    assert!(error("to=x").contains("did you mean \"recipient\"?"));
    assert!(error("sender").contains("is no condition"));
    assert!(error("sender=a;;").contains("is no condition"));
    assert!(error("sender>a").contains("compare it with =, != or ~"));
    assert!(error("size~1M").contains("compare it with <, <=, =, >= or >"));
    assert!(error("age>2").contains("write a time such as"));
    assert!(error("age>-2h").contains("write a time such as"));
    assert!(error("size>many").contains("such as 1M"));
    assert!(error("state=new").contains("submission, ready, deferred, held, bad, ended, damaged"));
    assert!(error("sender=").contains("it is empty"));
    assert!(error("=x").contains("is no condition"));
    assert!(error("size>99999999999999999999G").contains("such as 1M"));
}

#[test]
fn a_summary_counts_messages_recipients_octets_and_age() {
    let index = index();
    let groups = |by, filter: &str| {
        let mut tally = Tally::new(by);
        assert_eq!(index.tally(&mut query(filter), None, 100, &mut tally).next, None);
        (tally.total().clone(), tally.groups())
    };
    let (total, domains) = groups(GroupBy::Domain, "");
    assert_eq!((total.messages, total.recipients, total.octets), (4, 6, 3_000 + (3 << 20)));
    assert_eq!(total.oldest, Some(rich().arrived));
    assert_eq!(total.ages, [3, 0, 1, 0, 0]);
    let names: Vec<_> = domains.iter().map(|(name, group)| (name.as_str(), group.messages)).collect();
    assert_eq!(names, [("a.example", 4), ("b.example", 1), ("c.example", 1)]);
    let names = |by, filter: &str| groups(by, filter).1.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let hops = ["a.example", "[relay.example]:2525", "[smart.example]:25"];
    assert_eq!(names(GroupBy::Destination, ""), hops);
    assert_eq!(names(GroupBy::Domain, "domain=b.example"), ["b.example"]);
    assert_eq!(names(GroupBy::SenderDomain, ""), ["here.example", "<>"]);
    assert_eq!(names(GroupBy::Sender, "age>1h"), ["sender2@here.example"]);
    assert_eq!(names(GroupBy::State, ""), ["ready", "deferred", "held"]);
    assert_eq!(names(GroupBy::Origin, "sender=<>"), ["notification"]);
    assert_eq!(names(GroupBy::Reply, "reply=*?*|4*|to *"), ["421 4.7.0 greylisted, come back", "to look at"]);
}

#[test]
fn those_who_watch_are_told_in_order_and_learn_what_they_missed() {
    let mut index = Index::default();
    index.put(&row(1));
    index.put(&row(1));
    index.remove(&id(1));
    let (changes, next) = index.changes(0);
    assert_eq!(changes, [(id(1), Change::Came), (id(1), Change::Changed), (id(1), Change::Left)]);
    assert_eq!(index.changes(next), (vec![], 3));
    (0..5_000).for_each(|number| index.put(&row(number)));
    let (changes, next) = index.changes(3);
    assert_eq!((changes.len(), next), (CHANGES_KEPT, 5_003));
}

fn found_closed(filter: &str, closed: &[&str]) -> Vec<(Standing, String)> {
    let closed = Arc::new(closed.iter().map(|name| Destination::domain(name)).collect());
    let slice = index().scan(&mut query(filter).with_closed(closed), None, usize::MAX);
    slice.found.into_iter().map(|one| (one.row.standing, one.row.id.as_str().to_owned())).collect()
}

#[test]
fn a_domain_stands_for_the_server_of_its_route() {
    let index = index();
    for filter in ["destination=[smart.example]:25", "destination=b.example", "destination=B.example|x.example"] {
        assert_eq!(found(&index, filter), [(rich().id.as_str().to_owned(), Some(vec![1]))], "{filter}");
    }
    assert_eq!(
        places(&index, "destination=a.example"),
        [0, 1, 2, 3],
        "a domain without a route is its own destination"
    );
    assert_eq!(found(&index, "destination!=b.example;id=*").len(), 4);
    let meant = |text: &str| Filter::parse(text).expect("a filter").meant(&routes());
    let smart = Destination::domain("[smart.example]:25");
    assert_eq!(meant("destination=b.example|a.example;domain=b.example"), [("b.example".to_owned(), smart)]);
    assert_eq!(meant("destination=[smart.example]:25;destination=*.example"), []);
}

#[test]
fn what_would_leave_for_a_destination_that_takes_nothing_is_deferred() {
    let (ready, bounce) = (row(1).id.as_str().to_owned(), bounce().id.as_str().to_owned());
    let both = |standing| vec![(standing, ready.clone()), (standing, bounce.clone())];
    assert_eq!(found_closed("state=ready", &["b.example"]), both(Standing::Ready));
    assert_eq!(found_closed("state=ready", &["a.example"]), []);
    let deferred = found_closed("state=deferred", &["a.example"]);
    assert_eq!(deferred.len(), 3, "{deferred:?}");
    assert!(deferred.iter().all(|(standing, _)| *standing == Standing::Deferred));
    let mut query = query("").with_closed(Arc::new(Closed::from([Destination::domain("a.example")])));
    let mut tally = Tally::new(GroupBy::State);
    index().tally(&mut query, None, usize::MAX, &mut tally);
    let groups: Vec<_> = tally.groups().into_iter().map(|(name, group)| (name, group.messages)).collect();
    assert_eq!(groups, [("deferred".to_owned(), 3), ("held".to_owned(), 1)]);
}

#[test]
fn waiting_is_all_that_is_under_way() {
    let waiting = |closed: &[&str]| found_closed("state=waiting", closed).len();
    assert_eq!((waiting(&[]), waiting(&["a.example"])), (3, 3));
    assert_eq!(places(&index(), "state!=waiting"), [3]);
    assert_eq!(places(&index(), "state=WAITING|held").len(), 4);
    let groupings = Filter::parse("state=waiting;domain=x;age>1h").expect("a filter").groupings();
    assert_eq!(groupings, [GroupBy::State, GroupBy::Domain]);
}
