use super::*;
use basin_sink::testing::{self, AuthResult};

/// A message whose DMARC has that outcome under that policy; SPF passed for a forwarder.
fn message(outcome: &str, policy: &str) -> testing::Message {
    let mut message = testing::Message::from_eml("From: a@client.example\r\nX-DMARC: pass\r\n\r\nbody\r\n");
    message
        .add_auth_result(AuthResult::new("spf", "pass", "forwarder.example"))
        .add_auth_result(AuthResult::new("dkim", "fail", "client.example"))
        .add_auth_result(AuthResult::new("dmarc", outcome, "client.example").property("policy.dmarc", policy));
    message
}

const ABOUT: &str = "(client.example, spf=pass forwarder.example, dkim=fail client.example)";

#[test]
fn what_passes_is_marked_and_a_forged_mark_is_gone() {
    let mut message = message("pass", "reject");
    assert_eq!(message.end_of_data::<DmarcPolicy>(), DataVerdict::Next);
    assert_eq!(message.headers("X-DMARC"), [format!("pass {ABOUT}")]);
    assert_eq!(message.header("X-Spam-Flag"), None);
}

#[test]
fn what_fails_is_treated_as_its_domain_asks() {
    let mut reject = message("fail", "reject");
    let refused = refuse(550, "5.7.26", "client.example asks to reject what fails DMARC");
    assert_eq!(reject.end_of_data::<DmarcPolicy>(), refused);

    let mut quarantine = message("fail", "quarantine");
    assert_eq!(quarantine.end_of_data::<DmarcPolicy>(), DataVerdict::Next);
    assert_eq!(quarantine.header("X-Spam-Flag").as_deref(), Some("YES"));

    let mut nothing = message("fail", "none");
    assert_eq!(nothing.end_of_data::<DmarcPolicy>(), DataVerdict::Next);
    assert_eq!(nothing.header("X-Spam-Flag"), None);
    assert_eq!(nothing.headers("X-DMARC"), [format!("fail {ABOUT}")]);
    assert_eq!(nothing.counter("dmarc_fail"), 1);
}

#[test]
fn quarantine_can_be_a_place_with_the_operator() {
    let mut message = message("fail", "quarantine");
    message.set_config("quarantine", "hold");
    assert_eq!(message.end_of_data::<DmarcPolicy>(), DataVerdict::Hold(format!("DMARC fail {ABOUT}")));
}

#[test]
fn a_trusted_list_may_break_signatures() {
    let mut message = message("fail", "reject");
    message.set_config("trusted-sealers", "lists.example").add_auth_result(AuthResult::new(
        "arc",
        "pass",
        "Lists.example",
    ));
    assert_eq!(message.end_of_data::<DmarcPolicy>(), DataVerdict::Next);
    assert_eq!(message.headers("X-DMARC"), [format!("fail {ABOUT}; passed on by Lists.example")]);
    for (outcome, sealer) in [("fail", "lists.example"), ("pass", "evil.example")] {
        let mut message = self::message("fail", "reject");
        message.set_config("trusted-sealers", "lists.example").add_auth_result(AuthResult::new("arc", outcome, sealer));
        assert_ne!(message.end_of_data::<DmarcPolicy>(), DataVerdict::Next, "{outcome} {sealer}");
    }
}

#[test]
fn what_the_dns_does_not_say_is_asked_again_unless_the_operator_lets_it_pass() {
    let later = refuse(451, "4.7.0", "cannot find out whether DMARC passes, please try again later");
    assert_eq!(message("temperror", "reject").end_of_data::<DmarcPolicy>(), later);
    let mut message = message("pass", "reject");
    message.set_auth_unavailable();
    assert_eq!(message.end_of_data::<DmarcPolicy>(), later);
    message.set_config("unknown", "pass");
    assert_eq!(message.end_of_data::<DmarcPolicy>(), DataVerdict::Next);
    assert_eq!(message.headers("X-DMARC"), ["temperror"]);
    message.set_config("unknown", "perhaps");
    assert!(message.try_end_of_data::<DmarcPolicy>().is_err());
}

#[test]
fn mail_of_users_is_let_through() {
    let mut message = message("fail", "reject");
    message.set_auth("ann", "PLAIN");
    assert_eq!(message.end_of_data::<DmarcPolicy>(), DataVerdict::Next);
    assert_eq!(message.headers("X-DMARC"), [""; 0]);
}

#[test]
fn a_domain_without_dmarc_is_let_through() {
    let mut message = testing::Message::from_eml("From: a@client.example\r\n\r\nbody\r\n");
    assert_eq!(message.end_of_data::<DmarcPolicy>(), DataVerdict::Next);
    assert_eq!(message.headers("X-DMARC"), ["none (, spf=none, dkim=none)"]);
}
