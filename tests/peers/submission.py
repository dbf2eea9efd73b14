"""smtplib of Python as a mail program: submission.py CA MX STARTTLS IMPLICIT (three ports of 127.0.0.1)."""

import smtplib
import ssl
import sys
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8

CA, MX, STARTTLS, IMPLICIT = sys.argv[1], *map(int, sys.argv[2:5])
HOST, USER, PASSWORD = "127.0.0.1", "ann@basin.example", "swordfish"
TRUST = ssl.create_default_context(cafile=CA)


def message(subject, policy=SMTP, text="Hello.\n"):
    mail = EmailMessage(policy=policy)
    mail["From"], mail["To"], mail["Subject"] = USER, "python@basin.example", subject
    mail.set_content(text, cte="8bit" if policy is SMTPUTF8 else None)
    return mail


def starttls(port=STARTTLS):
    client = smtplib.SMTP(HOST, port, local_hostname="client.example", timeout=30)
    code, text = client.starttls(context=TRUST)
    assert code == 220, (code, text)
    client.ehlo()
    return client


def implicit():
    return smtplib.SMTP_SSL(HOST, IMPLICIT, local_hostname="client.example", timeout=30, context=TRUST)


def refused(code, act, *arguments, **more):
    """Demands that smtplib reports that code."""
    try:
        act(*arguments, **more)
    except smtplib.SMTPResponseException as error:
        assert error.smtp_code == code, error
    except smtplib.SMTPRecipientsRefused as error:
        assert {answer[0] for answer in error.recipients.values()} == {code}, error
    else:
        raise AssertionError(f"{act} works, {code} was expected")


def logins():
    for name, connect in (("starttls", starttls), ("implicit", implicit)):
        with connect() as client:
            assert client.login(USER, PASSWORD)[0] == 235
            assert client.send_message(message(f"smtplib-{name}")) == {}
    for mechanism in ("auth_plain", "auth_login"):
        with implicit() as client:
            client.ehlo()
            client.user, client.password = USER, PASSWORD
            code, text = client.auth(mechanism.removeprefix("auth_").upper(), getattr(client, mechanism))
            assert code == 235, (code, text)
    with implicit() as client:
        refused(535, client.login, USER, "wrong")
        assert client.login(USER, PASSWORD)[0] == 235, "after a mistyped password"
        # smtplib takes 503 for "logged in already" and goes on.
        assert client.login(USER, PASSWORD)[0] == 503


def without_login():
    with starttls() as client:
        refused(530, client.send_message, message("smtplib-nobody"))
    with starttls(MX) as client:
        assert client.send_message(message("smtplib-outside"), from_addr="sender@client.example") == {}
        refused(550, client.sendmail, "sender@client.example", ["friend@away.example"], b"Subject: relay\r\n\r\n")
    with smtplib.SMTP(HOST, STARTTLS, local_hostname="client.example", timeout=30) as client:
        client.ehlo()
        assert not client.has_extn("auth"), "AUTH is offered without TLS"


def international():
    with implicit() as client:
        client.login(USER, PASSWORD)
        assert client.has_extn("smtputf8") and client.has_extn("8bitmime")
        mail = message("smtplib-übung", SMTPUTF8, "Grüße aus München\n")
        assert client.send_message(mail, mail_options=["SMTPUTF8", "BODY=8BITMIME"]) == {}
        octets = b"From: ann@basin.example\r\nTo: python@basin.example\r\nSubject: smtplib-8bit\r\n\r\n.k\xc3\xa4se\r\n"
        assert client.sendmail(USER, ["python@basin.example"], octets, mail_options=["BODY=8BITMIME"]) == {}
        client.mail("übung@bücher.example", ["SMTPUTF8"])
        assert client.rset()[0] == 250


def sizes_and_recipients():
    with implicit() as client:
        client.login(USER, PASSWORD)
        # sendmail() announces the size of its message itself.
        assert client.mail(USER, ["SIZE=99999999999"])[0] == 552
        assert client.rset()[0] == 250
        answer = client.sendmail(USER, ["python@basin.example", "nobody@basin.example"], b"Subject: smtplib-two\r\n\r\nx\r\n")
        assert list(answer) == ["nobody@basin.example"] and answer["nobody@basin.example"][0] == 550, answer
        assert client.noop()[0] == 250 and client.vrfy("python@basin.example")[0] in (250, 252)


def notifications():
    with implicit() as client:
        client.login(USER, PASSWORD)
        assert client.has_extn("dsn")
        asked = ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;first+2Bhand@basin.example"]
        options = ["RET=HDRS", "ENVID=smtplib+2Bdsn"]
        assert client.send_message(message("smtplib-dsn"), mail_options=options, rcpt_options=asked) == {}
        client.mail(USER)
        assert client.rcpt("python@basin.example", ["NOTIFY=NEVER,FAILURE"])[0] == 501
        assert client.rset()[0] == 250


def chunks():
    with implicit() as client:
        client.login(USER, PASSWORD)
        assert client.has_extn("chunking")
        client.mail(USER)
        client.rcpt("python@basin.example")
        for chunk, last in ((b"Subject: smtplib-bdat\r\n\r\n.a dot\r\n.\r\n", ""), (b"the end\r\n", " LAST")):
            client.send(f"BDAT {len(chunk)}{last}\r\n".encode() + chunk)
            assert client.getreply()[0] == 250


for part in (logins, without_login, international, sizes_and_recipients, notifications, chunks):
    part()
    print(part.__name__, "ok")
