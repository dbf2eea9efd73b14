use proptest::prelude::*;

use super::*;

fn cron(text: &str) -> Cron {
    text.parse().expect(text)
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).expect("a moment")
}

// The next times after the first of these.
fn due(text: &str, from: &str, expected: &[&str]) {
    let cron = cron(text);
    let mut moment = at(from);
    for expected in expected {
        moment = cron.next_after(moment).expect("it comes again");
        assert_eq!(moment.to_rfc3339(), *expected, "{text} after {from}");
    }
}

#[test]
fn minutes_hours_lists_ranges_and_steps_are_met() {
    due("*/5 * * * *", "2026-11-22T13:04:59Z", &["2026-11-22T13:05:00Z", "2026-11-22T13:10:00Z"]);
    due("5 * * * *", "2026-11-22T13:05:00Z", &["2026-11-22T14:05:00Z"]);
    due("30 7,19 * * *", "2026-12-31T12:00:00Z", &["2026-12-31T19:30:00Z", "2027-01-01T07:30:00Z"]);
    due(
        "10-50/20 8-9 * * *",
        "2026-01-01T08:10:30Z",
        &["2026-01-01T08:30:00Z", "2026-01-01T08:50:00Z", "2026-01-01T09:10:00Z"],
    );
}

#[test]
fn months_have_their_lengths_and_leap_years_their_day() {
    due("0 0 31 * *", "2026-01-31T00:00:00Z", &["2026-03-31T00:00:00Z", "2026-05-31T00:00:00Z"]);
    due("0 12 29 2 *", "2026-01-01T00:00:00Z", &["2028-02-29T12:00:00Z", "2032-02-29T12:00:00Z"]);
    due("0 0 29 feb *", "2096-02-29T00:00:00Z", &["2104-02-29T00:00:00Z"]);
    due("0 0 29 2 *", "1999-01-01T00:00:00Z", &["2000-02-29T00:00:00Z"]);
}

#[test]
fn both_days_mean_either_of_them_and_one_alone_means_that_one() {
    // 2026-11-22 is a Sunday.
    due(
        "0 0 1 * mon",
        "2026-11-22T00:00:00Z",
        &["2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z"],
    );
    due("0 0 * * fri", "2026-11-22T00:00:00Z", &["2026-11-27T00:00:00Z", "2026-12-04T00:00:00Z"]);
    due("0 0 15 * *", "2026-11-22T00:00:00Z", &["2026-12-15T00:00:00Z"]);
    due("0 0 31 2 sun", "2026-02-01T00:00:00Z", &["2026-02-08T00:00:00Z"]);
}

#[test]
fn sunday_is_0_and_7() {
    for sunday in ["0", "7", "SUN", "5-7"] {
        assert!(
            cron(&format!("0 0 * * {sunday}")).next_after(at("2026-11-21T12:00:00Z"))
                == Some(at("2026-11-22T00:00:00Z"))
        );
    }
}

#[test]
fn words_stand_for_five_fields_and_are_kept() {
    due("@hourly", "2026-11-22T13:04:59Z", &["2026-11-22T14:00:00Z"]);
    due("@daily", "2026-11-22T13:04:59Z", &["2026-11-23T00:00:00Z"]);
    due("@weekly", "2026-11-22T13:04:59Z", &["2026-11-29T00:00:00Z"]);
    due("@monthly", "2026-11-22T13:04:59Z", &["2026-12-01T00:00:00Z"]);
    due("@yearly", "2026-11-22T13:04:59Z", &["2027-01-01T00:00:00Z"]);
    assert_eq!(cron(" @Daily ").text(), "@daily");
    assert_eq!(cron("*/5  *\t* * *").to_string(), "*/5 * * * *");
}

#[test]
fn what_cannot_be_read_is_refused_and_the_complaint_says_what_is_right() {
    for (text, words) in [
        ("", "this has 0"),
        ("* * * *", "this has 4"),
        ("* * * * * *", "this has 6"),
        ("@reboot", "there are @hourly, @daily"),
        ("60 * * * *", "minute 60 is out of range; write 0 to 59"),
        ("* 24 * * *", "hour 24 is out of range; write 0 to 23"),
        ("* * 0 * *", "day of month 0 is out of range; write 1 to 31"),
        ("* * * 13 *", "month 13 is out of range; write 1 to 12"),
        ("* * * * 8", "day of week 8 is out of range; write 0 to 7"),
        ("x * * * *", "minute \"x\" cannot be read"),
        ("+5 * * * *", "cannot be read"),
        ("*/0 * * * *", "cannot be read"),
        ("5/10 * * * *", "cannot be read"),
        ("*/61 * * * *", "the step of minute \"*/61\" is wider than what it steps through"),
        ("* 9-17/9 * * *", "the step of hour \"9-17/9\" is wider"),
        ("1,,2 * * * *", "cannot be read"),
        ("99999999999 * * * *", "cannot be read"),
        ("5-1 * * * *", "minute \"5-1\" ends before it begins"),
        ("* * * * fri-mon", "ends before it begins"),
        ("0 0 30 2 *", "is never due"),
        ("0 0 31 4,6,9,11 *", "is never due"),
    ] {
        let error = text.parse::<Cron>().expect_err(text).to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn a_clock_out_of_all_reason_makes_nothing_due() {
    for seconds in [i64::MIN, i64::MAX, SECONDS_MAX + 1] {
        assert_eq!(cron("* * * * *").next_after(Timestamp::from_seconds(seconds)), None);
    }
    assert!(cron("* * * * *").next_after(Timestamp::from_seconds(-SECONDS_MAX)).is_some());
}

fn field(from: u32, to: u32) -> impl Strategy<Value = String> {
    let range = (from..=to).prop_flat_map(move |first| (Just(first), first..=to));
    prop_oneof![
        Just("*".to_owned()),
        (1..=(to - from).min(40)).prop_map(|step| format!("*/{step}")),
        (from..=to).prop_map(|value| value.to_string()),
        (range, 1_u32..9).prop_map(|((first, last), step)| match step.min(last - first) {
            0 => format!("{first}-{last}"),
            step => format!("{first}-{last}/{step}"),
        }),
        proptest::collection::vec(from..=to, 1..4).prop_map(|values| values
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join(",")),
    ]
}

fn schedules() -> impl Strategy<Value = String> {
    (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7))
        .prop_map(|(minute, hour, day, month, weekday)| format!("{minute} {hour} {day} {month} {weekday}"))
}

// Whether a value is in a field, read anew and without sets.
fn is_in(field: &str, from: u32, to: u32, value: u32) -> bool {
    field.split(',').any(|part| {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let number = |text: &str| text.parse::<u32>().expect("a number");
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (number(first), number(last)),
            None if range == "*" => (from, to),
            None => (number(range), number(range)),
        };
        (first..=last).contains(&value) && (value - first).is_multiple_of(number(step))
    })
}

// Whether a minute is due, by the calendar of another library.
fn is_due(text: &str, moment: Timestamp) -> bool {
    let date = mail_parser::DateTime::from_timestamp(moment.seconds);
    let fields: Vec<&str> = text.split(' ').collect();
    let (day, month) = (u32::from(date.day), u32::from(date.month));
    let weekday = u32::from(date.day_of_week());
    let is_day = is_in(fields[2], 1, 31, day);
    let is_weekday = is_in(fields[4], 0, 7, weekday) || weekday == 0 && is_in(fields[4], 0, 7, 7);
    let is_right_day = match (fields[2] == "*", fields[4] == "*") {
        (false, false) => is_day || is_weekday,
        _ => is_day && is_weekday,
    };
    is_in(fields[0], 0, 59, u32::from(date.minute))
        && is_in(fields[1], 0, 23, u32::from(date.hour))
        && is_in(fields[3], 1, 12, month)
        && is_right_day
}

/// Minutes of which every one is looked at: more than a day, so that days and months end within.
const WINDOW_MINUTES: i64 = 30 * 60;

proptest! {
    #[test]
    fn the_next_time_is_due_and_nothing_before_it_is(text in schedules(), seconds in 0_i64..4_102_444_800) {
        let Ok(cron) = text.parse::<Cron>() else { return Ok(()) };
        let from = Timestamp::from_seconds(seconds);
        let next = cron.next_after(from).expect("it is due some time");
        prop_assert!(next > from && next.seconds % MINUTE_SECONDS == 0 && is_due(&text, next), "{text} {}", next.to_rfc3339());
        let first = seconds.div_euclid(MINUTE_SECONDS) + 1;
        for minute in first..first + WINDOW_MINUTES {
            let moment = Timestamp::from_seconds(minute * MINUTE_SECONDS);
            if moment == next {
                break;
            }
            prop_assert!(!is_due(&text, moment), "{text} is due at {}", moment.to_rfc3339());
        }
    }

    #[test]
    fn days_are_those_of_the_calendar(day in -200_000_i64..200_000) {
        let date = mail_parser::DateTime::from_timestamp(day * DAY_SECONDS);
        if day >= 0 {
            prop_assert_eq!(month_and_day(day), (i64::from(date.month), i64::from(date.day)));
        } else {
            // Before 1970 the day after is what tells: each is followed by the next of its month, or by a first.
            let ((month, of_month), (next_month, next)) = (month_and_day(day), month_and_day(day + 1));
            prop_assert!(next == of_month + 1 && next_month == month || next == 1 && next_month == month % 12 + 1);
        }
    }

    #[test]
    fn no_text_is_too_strange(text in "\\PC{0,40}") {
        drop(text.parse::<Cron>());
    }
}
