//! Mail by real servers: Debian's Dovecot and Exim on loopback, and the real program between them.

mod rig;

use crate::daemon::{self, Daemon};
use mail_parser::{Message, MessageParser};
use rig::{ADA, Office, PASSWORD, SMS, proxy};
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fs, sync::Arc};

fn settings(office: &Office, more: &str) -> String {
    let (imaps, smtp) = (office.imaps, office.smtp);
    let given = |key: &str| more.lines().any(|line| line.starts_with(key));
    let usual = [
        ("imap_host", "\"localhost\"".to_string()),
        ("imap_port", imaps.to_string()),
        ("smtp_host", "\"localhost\"".to_string()),
        ("smtp_port", smtp.to_string()),
        ("username", format!("{SMS:?}")),
        ("password", format!("{PASSWORD:?}")),
        ("ca_file", format!("{:?}", office.path("cert.pem"))),
        // Whoever waits for this waits in vain: mail must be told of.
        ("poll_interval", "\"24h\"".to_string()),
    ];
    let usual: String = usual
        .iter()
        .filter(|(key, _)| !given(key))
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect();
    let head = "INSTALLED_APPS = [\"echo\", \"default\"]\n[web]\nlisten = \"127.0.0.1:0\"\n\
        [INSTALLED_BACKENDS.message_tester]\nENGINE = \"bucket\"\n[INSTALLED_BACKENDS.mail]\nENGINE = \"email\"\n";
    format!("{head}{usual}{more}\n")
}

fn start(office: &Office, more: &str) -> Daemon {
    Daemon::start(&settings(office, more))
}

/// The sentence of the backend when it is in this state.
#[track_caller]
fn wait_for_state(daemon: &Daemon, state: &str, part: &str) -> String {
    daemon.wait_until(&format!("mail is {state}: {part}"), |daemon| {
        let backends = daemon.get("/api/v1/backends").json();
        let list = backends["backends"].as_array().or(backends.as_array())?.clone();
        let mail = list.into_iter().find(|backend| backend["name"] == "mail")?;
        let sentence = mail["sentence"].as_str().or(mail["reason"].as_str()).unwrap_or_default().to_string();
        (mail["state"] == state && sentence.contains(part)).then_some(sentence)
    })
}

fn mail(text: &str) -> Vec<u8> {
    static NUMBER: AtomicUsize = AtomicUsize::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!(
        "From: Ada <{ADA}>\nTo: {SMS}\nSubject: A question\nMessage-ID: <{number}@example.com>\n\
         Date: Sun, 22 Nov 2026 10:00:00 +0000\n\n{text}\n"
    )
    .into_bytes()
}

fn parsed(mail: &[u8]) -> Message<'_> {
    MessageParser::default().parse(mail).expect("a mail")
}

fn text_of(mail: &[u8]) -> String {
    parsed(mail).body_text(0).unwrap_or_default().trim_end().replace("\r\n", "\n")
}

fn stored(daemon: &Daemon, filter: &str) -> usize {
    daemon.messages(&format!("backend=mail&limit=1000&{filter}")).len()
}

#[test]
fn questions_in_many_charsets_are_answered_in_their_threads() {
    let office = Office::open();
    let daemon = start(&office, "");
    wait_for_state(&daemon, "up", "told of new mail at once");
    let head = |number: usize, more: &str| {
        format!("From: Ada <{ADA}>\nTo: {SMS}\nSubject: =?utf-8?Q?Caf=C3=A9?=\nMessage-ID: <c{number}@example.com>\nReferences: <c0@example.com>\n{more}\n").into_bytes()
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        ([head(1, ""), b"echo hello\n".to_vec()].concat(), "hello"),
        ([head(2, "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n"), "echo Grüße 日本 🙂\n".as_bytes().to_vec()].concat(), "Grüße 日本 🙂"),
        ([head(3, "Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n"), b"echo Gr=FC=DFe\n".to_vec()].concat(), "Grüße"),
        ([head(4, "Content-Type: text/plain; charset=windows-1256\nContent-Transfer-Encoding: 8bit\n"), b"echo \xe3\xd1\xcd\xc8\xc7\n".to_vec()].concat(), "مرحبا"),
        ([head(5, "Content-Type: text/plain; charset=shift_jis\nContent-Transfer-Encoding: base64\n"), b"ZWNobyCT+pZ7jOo=\n".to_vec()].concat(), "日本語"),
        ([head(6, "Content-Type: text/html; charset=utf-8\n"), b"<p>echo <b>bold</b> &amp; old</p>\n".to_vec()].concat(), "bold & old"),
        ([head(7, ""), b"echo .\n.\n.. dots\n".to_vec()].concat(), ".\n.\n.. dots"),
    ];
    for (number, (question, expected)) in cases.iter().enumerate() {
        let name = office.put(SMS, question);
        let answers = office.wait_for_mails(ADA, number + 1);
        let answer = answers
            .iter()
            .map(|(_, mail)| mail)
            .find(|mail| {
                parsed(mail)
                    .header_raw("In-Reply-To")
                    .is_some_and(|id| id.contains(&format!("c{}@", number + 1)))
            })
            .unwrap_or_else(|| panic!("no answer to {number} in its thread"));
        assert_eq!(text_of(answer), *expected);
        let message = parsed(answer);
        assert_eq!(message.subject(), Some("Re: Café"));
        assert_eq!(message.header_raw("Auto-Submitted").map(str::trim), Some("auto-replied"));
        let references = message.header_raw("References").unwrap_or_default().to_string();
        assert!(references.contains("<c0@example.com>"), "{references}");
        let id = message.message_id().unwrap_or_default().split('@').next().unwrap_or_default().to_string();
        daemon.wait_until("the answer is sent", |daemon| {
            (daemon.get(&format!("/api/v1/messages/{id}")).json()["state"] == "sent").then_some(())
        });
        office.wait("the question is marked as read", || office.is_read(SMS, &name).then_some(()));
    }
    // A message that answers nothing.
    daemon.rapidsms(&["send", "mail", ADA, "hello\nfrom us"]).exits(0);
    let all = office.wait_for_mails(ADA, cases.len() + 1);
    let fresh = all
        .iter()
        .map(|(_, mail)| mail)
        .find(|mail| parsed(mail).header_raw("In-Reply-To").is_none())
        .unwrap();
    assert_eq!((text_of(fresh).as_str(), parsed(fresh).subject()), ("hello\nfrom us", Some("Message")));
    daemon.stop();
}

#[test]
fn a_mail_is_answered_at_once_over_starttls_and_moved() {
    let office = Office::open();
    let more =
        format!("tls = \"required\"\nimap_ssl = false\nimap_port = {}\nmove_to = \"Done\"", office.imap);
    let daemon = start(&office, &more);
    wait_for_state(&daemon, "up", "told of new mail at once");
    // The one before may come before IDLE; this one meets a server that waits.
    office.put(SMS, &mail("echo first"));
    office.wait_for_mails(ADA, 1);
    let begun = Instant::now();
    office.put(SMS, &mail("echo second"));
    office.wait_for_mails(ADA, 2);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    office.wait("both are moved", || {
        (office.mails(SMS, ".Done").len() == 2 && office.mails(SMS, "").is_empty()).then_some(())
    });
    assert!(office.mails(SMS, ".Done").iter().all(|(name, _)| name.contains('S')), "and read");
    daemon.stop();
}

/// P1, P2: the disk, the server's numbers and the server itself may come and go.
#[test]
fn nothing_is_lost_or_repeated_when_servers_restart_and_number_anew() {
    let mut office = Office::open();
    let daemon = start(&office, "");
    wait_for_state(&daemon, "up", "");
    for number in 0..3 {
        office.put(SMS, &mail(&format!("echo {number}")));
    }
    office.wait_for_mails(ADA, 3);
    office.stop_imap();
    office.stop_smtp();
    // Both are down: what comes waits in the mailbox, what goes in the store.
    office.put(SMS, &mail("echo 3"));
    daemon.rapidsms(&["send", "mail", ADA, "4"]).exits(0);
    office.number_anew();
    office.start_imap();
    office.start_smtp();
    office.wait_for_mails(ADA, 5);
    daemon.wait_until("the old ones are known", |daemon| {
        (stored(daemon, "state=duplicate") == 3).then_some(())
    });
    let mut texts: Vec<String> = office.mails(ADA, "").iter().map(|(_, mail)| text_of(mail)).collect();
    texts.sort();
    assert_eq!(texts, ["0", "1", "2", "3", "4"]);
    office.wait("all are read", || {
        let mails = office.mails(SMS, "");
        (mails.len() == 4 && mails.iter().all(|(name, _)| name.contains('S'))).then_some(())
    });
    daemon.stop();
}

#[test]
fn a_wrong_password_is_given_once() {
    let office = Office::open();
    let daemon = start(&office, &format!("password = \"wrong\"\nsmtp_password = {PASSWORD:?}"));
    let sentence = wait_for_state(&daemon, "parked", "refuses the login of sms@example.org");
    assert!(!sentence.contains("wrong") && !daemon.log().contains("\"wrong\""), "{sentence}");
    // What is sent meanwhile is kept for a person.
    daemon.rapidsms(&["send", "mail", ADA, "hello"]).exits(0);
    daemon.wait_until("held", |daemon| (stored(daemon, "state=held") == 1).then_some(()));
    office.imap_says("auth failed", 1);
    daemon.stop();
    let refused = office.imap_log().matches("auth failed").count();
    assert_eq!(refused, 1, "{}", office.imap_log());
}

#[test]
fn a_wrong_password_for_sending_is_given_once() {
    let office = Office::open();
    let daemon = start(&office, "smtp_password = \"wrong\"");
    wait_for_state(&daemon, "parked", "for sending");
    daemon.stop();
    let log = fs::read_to_string(office.path("spool/exim-main.log")).unwrap_or_default()
        + &fs::read_to_string(office.path("spool/exim-reject.log")).unwrap_or_default();
    let refused = log.lines().filter(|line| line.contains("authenticator failed")).count();
    assert!((1..=2).contains(&refused), "once, in one or two logs: {log}");
}

#[test]
fn a_certificate_that_nobody_signed_is_refused() {
    let office = Office::open();
    for more in [
        "ca_file = \"other.pem\"".to_string(),
        format!("tls = \"required\"\nca_file = \"other.pem\"\nimap_ssl = false\nimap_port = {}", office.imap),
    ] {
        let folder = daemon::folder(&settings(&office, &more));
        // Somebody else's certificate is trusted instead.
        let made = std::process::Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-keyout", "/dev/null", "-out", "other.pem", "-days", "2", "-subj", "/CN=other"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(made.status.success());
        let daemon = Daemon::start_in(folder);
        wait_for_state(&daemon, "down", "name that one's certificate in ca_file");
        daemon.stop();
    }
    // The right certificate for the wrong name.
    let daemon = start(&office, "imap_host = \"127.0.0.1\"");
    wait_for_state(&daemon, "down", "its certificate is for another name");
    daemon.stop();
    assert!(!office.imap_log().contains(SMS), "nothing was said to it:\n{}", office.imap_log());
}

#[test]
fn without_tls_nothing_is_said_unless_that_is_meant() {
    let office = Office::open();
    let more = format!("tls = \"off\"\nimap_port = {}\nsmtp_login = false", office.imap);
    let daemon = start(&office, &more);
    wait_for_state(&daemon, "up", "");
    daemon.stop();
    let folder = daemon::folder(&settings(&office, "smtp_host = \"mail.example.org\"\nuse_tls = false"));
    let daemon = Daemon::start_in(folder);
    wait_for_state(&daemon, "parked", "the password would travel to mail.example.org in clear");
    daemon.stop();
}

/// The instant between the router's disk and the server's mark, exactly: the process is killed when it says that the mail is read.
#[test]
fn a_kill_between_the_disk_and_the_mark_costs_nothing() {
    let office = Office::open();
    let pid = Arc::new(Mutex::new(None));
    let (victim, kills) = (Arc::clone(&pid), AtomicUsize::new(0));
    let port = proxy(office.imap, move |said| {
        if !said.windows(9).any(|piece| piece == b"UID STORE") || kills.fetch_add(1, Ordering::SeqCst) > 0 {
            return true;
        }
        if let Some(pid) = *victim.lock().unwrap() {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        false
    });
    let more = format!("tls = \"off\"\nimap_port = {port}\nsmtp_login = false\nsmtp_port = {}", sink());
    let daemon = start(&office, &more);
    *pid.lock().unwrap() = Some(daemon.pid());
    wait_for_state(&daemon, "up", "");
    let name = office.put(SMS, &mail("echo once"));
    let ended = daemon.ends();
    assert!(!office.is_read(SMS, &name), "it is not marked yet");
    let daemon = Daemon::start_in(ended.folder);
    office.wait("it is marked in the end", || office.is_read(SMS, &name).then_some(()));
    assert_eq!(stored(&daemon, "direction=in&state=duplicate"), 1, "it was met twice");
    assert_eq!(stored(&daemon, "direction=in"), 2);
    daemon.wait_until("one answer", |daemon| (stored(daemon, "direction=out") == 1).then_some(()));
    daemon.stop();
}

/// A mail server that takes whatever it is given.
fn sink() -> u16 {
    use std::io::{BufRead, BufReader};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || -> std::io::Result<()> {
                let mut lines = BufReader::new(stream.try_clone()?);
                stream.write_all(b"220 sink\r\n")?;
                let mut within = false;
                loop {
                    let mut line = String::new();
                    if lines.read_line(&mut line)? == 0 {
                        return Ok(());
                    }
                    let answer = match line.trim_end() {
                        "." => "250 taken",
                        _ if within => continue,
                        "DATA" => "354 go on",
                        _ => "250 ok",
                    };
                    within = answer.starts_with("354");
                    stream.write_all(format!("{answer}\r\n").as_bytes())?;
                }
            });
        }
    });
    port
}

/// Fault 44, on the wire: a mail of 100 MB, and what it costs.
#[test]
fn a_mail_of_100_mb_is_read_as_far_as_anybody_reads() {
    let office = Office::open();
    let daemon = start(&office, "");
    wait_for_state(&daemon, "up", "");
    let mut huge = format!("From: {ADA}\nMessage-ID: <huge@example.com>\n\necho ").into_bytes();
    huge.extend(std::iter::repeat_n(*b"0123456789abcdef ghijklmnopqrstuvwxyz\n", 100_000_000 / 38).flatten());
    office.put(SMS, &huge);
    office.put(SMS, &mail("echo small"));
    let answers = office.wait_for_mails(ADA, 2);
    let texts: Vec<String> = answers.iter().map(|(_, mail)| text_of(mail)).collect();
    assert!(texts.iter().any(|text| text == "small"), "the next one is not delayed");
    let cut = texts.iter().find(|text| text.ends_with("[...]")).expect("the huge one is answered, cut");
    assert!(cut.len() <= 4_200, "{}", cut.len());
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid().as_raw_nonzero())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").trim().parse().unwrap();
    assert!(kib < 128 * 1024, "P10: {kib} KiB");
    daemon.stop();
}

#[test]
fn what_cannot_be_delivered_fails_now_or_by_a_bounce() {
    let office = Office::open();
    let daemon = start(&office, "");
    wait_for_state(&daemon, "up", "");
    // Refused while it is given.
    daemon.rapidsms(&["send", "mail", "nobody@example.com", "hello"]).exits(0);
    // Taken, and sent back later.
    daemon.rapidsms(&["send", "mail", "ada@bounce.example", "hello"]).exits(0);
    // Not now.
    daemon.rapidsms(&["send", "mail", "full@example.com", "hello"]).exits(0);
    let state = |daemon: &Daemon, identity: &str, state: &str| {
        let found = daemon
            .messages("backend=mail&direction=out")
            .into_iter()
            .find(|message| message["identity"] == identity)?;
        (found["state"] == state).then(|| found["reason"].as_str().unwrap_or_default().to_string())
    };
    let refused = daemon.wait_until("refused", |daemon| state(daemon, "nobody@example.com", "failed"));
    assert!(refused.contains("550") && refused.contains("no such mailbox"), "{refused}");
    let bounced = daemon.wait_until("bounced", |daemon| state(daemon, "ada@bounce.example", "failed"));
    assert!(bounced.starts_with("failed 5."), "{bounced}");
    let later = daemon.wait_until("later", |daemon| state(daemon, "full@example.com", "queued"));
    assert!(later.contains("451") || later.contains("450") || later.contains("4.2.2"), "{later}");
    // The bounce itself is kept, and nobody answers it.
    let kept = daemon.wait_until("kept", |daemon| {
        daemon
            .messages("backend=mail&direction=in")
            .first()
            .map(|message| message["reason"].as_str().unwrap_or_default().to_string())
    });
    assert!(kept.contains("automatic mail"), "{kept}");
    daemon.stop();
}

/// A mail server that can tell (DSN) is asked whether a mail arrived.
#[test]
fn a_mail_that_arrived_is_delivered() {
    let office = Office::open();
    let daemon = start(&office, "reports = true");
    wait_for_state(&daemon, "up", "");
    daemon.rapidsms(&["send", "mail", ADA, "hello"]).exits(0);
    daemon.wait_until("delivered", |daemon| (stored(daemon, "state=delivered") == 1).then_some(()));
    assert_eq!(office.mails(ADA, "").len(), 1);
    daemon.stop();
}

/// Two machines: an answer of ours that comes back is not answered.
#[test]
fn our_own_mail_is_not_answered() {
    let office = Office::open();
    let daemon = start(&office, "");
    wait_for_state(&daemon, "up", "");
    daemon.rapidsms(&["send", "mail", SMS, "hello me"]).exits(0);
    let kept = daemon.wait_until("it came in", |daemon| {
        daemon
            .messages("backend=mail&direction=in")
            .first()
            .map(|message| message["state"].as_str().unwrap_or_default().to_string())
    });
    assert_eq!(kept, "quarantined");
    daemon.stop();
    assert_eq!(office.mails(SMS, "").len(), 1);
}

/// Without any server: the mail that would go out, and what answers to it would mean.
#[test]
fn a_dry_run_shows_the_mail_and_what_an_answer_means() {
    let folder = daemon::folder(
        "[INSTALLED_BACKENDS.mail]\nENGINE = \"email\"\nsmtp_host = \"mail.example.org\"\nsmtp_port = 587\n\
         username = \"sms@example.org\"\npassword = \"not to be seen\"\n",
    );
    let shown = daemon::rapidsms(folder.path(), &["send", "mail", ADA, "hello", "--dry-run"]).exits(0).out;
    for part in [
        "connect mail.example.org port 587, STARTTLS, login sms@example.org ***",
        "RCPT TO:<ada@example.com>",
        "Auto-Submitted: auto-generated",
        "\nhello\n",
    ] {
        assert!(shown.contains(part), "{part:?} in:\n{shown}");
    }
    assert!(!shown.contains("not to be seen"), "{shown}");
    for (answer, meaning) in [
        ("250 2.0.0 Ok: queued as 4F2", "answer: sent"),
        ("451 4.7.1 Greylisted", "answer: not sent now, tried again: SMTP 451 4.7.1 Greylisted"),
        (
            "550-5.1.1 No\n550 5.1.1 such user",
            "answer: failed, never tried again: SMTP 550 5.1.1 No 5.1.1 such user",
        ),
    ] {
        daemon::write(folder.path(), "answer", answer);
        let command = ["send", "mail", ADA, "hello", "--dry-run", "--answer", "answer"];
        let shown = daemon::rapidsms(folder.path(), &command).exits(0).out;
        assert!(shown.contains(meaning), "{meaning:?} in:\n{shown}");
    }
    let nobody =
        daemon::rapidsms(folder.path(), &["send", "mail", "+254712345678", "hello", "--dry-run"]).exits(1);
    assert!(nobody.err.contains("no mail address"), "{}", nobody.err);
}

/// The block of RapidSMS 0.9 for accounts of this machine, word for word.
#[test]
fn the_old_block_for_this_machine_is_no_fault() {
    let settings = "[INSTALLED_BACKENDS.mail]\nENGINE = \"rapidsms.backends.email\"\nSMTP_HOST = \"localhost\"\nSMTP_PORT = 25\n\
        IMAP_HOST = \"localhost\"\nIMAP_PORT = 143\nIMAP_SSL = false\nUSE_TLS = false\nUSERNAME = \"sms\"\nPASSWORD = \"secret\"\nPOLL_INTERVAL = 60\n";
    let folder = daemon::folder(settings);
    let shown = daemon::rapidsms(folder.path(), &["send", "mail", ADA, "hello", "--dry-run"]).exits(0).out;
    assert!(shown.contains("localhost port 25, no TLS, login sms ***\nMAIL FROM:<sms@localhost>"), "{shown}");
    let elsewhere = settings
        .replace("\"localhost\"", "\"mail.example.org\"")
        .replace("USE_TLS = false", "USE_TLS = true");
    let folder = daemon::folder(&elsewhere);
    let ran = daemon::rapidsms(folder.path(), &["send", "mail", ADA, "hello", "--dry-run"]).exits(1);
    assert!(ran.err.contains("username in the settings: \"sms\" is no mail address"), "{}", ran.err);
}
