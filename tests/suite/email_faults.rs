//! Mail servers that break the rules: they hang, drip, lie, hang up and never end. Each costs its own backend a known state with a sentence, and
//! nobody else anything.

use crate::daemon::Daemon;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What a server does with one connection; the number counts them from 0.
type Manner = dyn Fn(usize, TcpStream) -> std::io::Result<()> + Send + Sync;

/// A server of such manners.
fn server(manner: impl Fn(usize, TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (manner, count) = (Arc::<Box<Manner>>::new(Box::new(manner)), AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (manner, number) = (Arc::clone(&manner), count.fetch_add(1, Ordering::SeqCst));
            // What it says to whom has gone is its own affair.
            std::thread::spawn(move || drop(manner(number, stream)));
        }
    });
    port
}

fn settings(more: &str) -> String {
    format!(
        "INSTALLED_APPS = [\"echo\", \"default\"]\n[web]\nlisten = \"127.0.0.1:0\"\n\
         [INSTALLED_BACKENDS.message_tester]\nENGINE = \"bucket\"\n\
         [INSTALLED_BACKENDS.mail]\nENGINE = \"email\"\ntls = \"off\"\ntimeout = \"500 ms\"\n\
         username = \"sms@example.org\"\npassword = \"secret\"\n{more}\n"
    )
}

fn sender(port: u16) -> Daemon {
    Daemon::start(&settings(&format!(
        "imap_host = false\nsmtp_host = \"127.0.0.1\"\nsmtp_port = {port}\nsmtp_login = false"
    )))
}

/// Waits for a connection to be closed by the other side.
fn hold(stream: &TcpStream) -> std::io::Result<()> {
    let mut octets = [0; 1024];
    while std::io::Read::read(&mut &*stream, &mut octets)? > 0 {}
    Ok(())
}

/// One octet at a time, each as the other side's patience is nearly over, and never the end.
fn drip(mut stream: &TcpStream) -> std::io::Result<()> {
    loop {
        stream.write_all(b"2")?;
        let _ = crossbeam_channel::after(Duration::from_millis(100)).recv();
    }
}

/// Speaks SMTP up to the mail; then `end` says what follows the final dot, or takes over by an `Err`.
fn smtp(
    mut stream: TcpStream,
    answers: impl Fn(&str) -> Option<&'static str>,
    end: impl Fn(&str, &TcpStream) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    stream.write_all(b"220 fake\r\n")?;
    let mut mail: Option<String> = None;
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let answer = match &mut mail {
            Some(text) if line == ".\r\n" => {
                end(text, &stream)?;
                mail = None;
                continue;
            }
            Some(text) => {
                text.push_str(&line);
                continue;
            }
            None => answers(line.trim_end()).unwrap_or(match line.trim_end() {
                "DATA" => "354 go on",
                _ => "250 ok",
            }),
        };
        if answer.starts_with("354") {
            mail = Some(String::new());
        }
        stream.write_all(format!("{answer}\r\n").as_bytes())?;
    }
}

fn taken(_: &str, mut stream: &TcpStream) -> std::io::Result<()> {
    stream.write_all(b"250 2.0.0 taken\r\n")
}

fn hang_up(_: &str, stream: &TcpStream) -> std::io::Result<()> {
    stream.shutdown(std::net::Shutdown::Both)?;
    Err(std::io::Error::other("gone"))
}

/// The state and the reason of the one message to `identity` when they are as they should be.
#[track_caller]
fn wait_for(daemon: &Daemon, identity: &str, state: &str, part: &str) -> String {
    daemon.wait_until(&format!("{identity} is {state}: {part}"), |daemon| {
        let messages = daemon.messages("backend=mail&direction=out");
        let message = messages.into_iter().find(|message| message["identity"] == identity)?;
        let reason = message["reason"].as_str().unwrap_or_default().to_string();
        (message["state"] == state && reason.contains(part)).then_some(reason)
    })
}

#[track_caller]
fn wait_for_backend(daemon: &Daemon, state: &str, part: &str) -> String {
    daemon.wait_until(&format!("mail is {state}: {part}"), |daemon| {
        let backends = daemon.get("/api/v1/backends").json();
        let mail = backends["backends"].as_array()?.iter().find(|backend| backend["name"] == "mail")?.clone();
        let sentence = mail["sentence"].as_str()?.to_string();
        (mail["state"] == state && sentence.contains(part)).then_some(sentence)
    })
}

/// Somebody else's conversation goes on.
#[track_caller]
fn others_are_served(daemon: &Daemon) {
    let begun = Instant::now();
    daemon.says("1112223333", "echo on we go");
    daemon.answers("1112223333", "on we go");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// P7: servers that never let a line that only sends come up.
#[test]
fn a_server_that_never_gets_anywhere_costs_nobody_else_anything() {
    let cases: Vec<(&str, Box<Manner>, &str)> = vec![
        ("hangs before its greeting", Box::new(|_, stream| hold(&stream)), "no answer in time"),
        ("drips", Box::new(|_, stream| drip(&stream)), "in time"),
        (
            "never ends its line",
            Box::new(|_, mut stream| {
                loop {
                    stream.write_all(&[b'2'; 4096])?;
                }
            }),
            "a line without an end",
        ),
        (
            "never ends its answer",
            Box::new(|_, mut stream| {
                loop {
                    stream.write_all(b"220-more\r\n")?;
                }
            }),
            "too many lines",
        ),
        (
            "speaks something else",
            Box::new(|_, mut stream| {
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
                hold(&stream)
            }),
            "does not speak SMTP",
        ),
        ("hangs up", Box::new(|_, _| Ok(())), "gave no answer"),
        (
            "has no time",
            Box::new(|_, mut stream| {
                stream.write_all(b"421 4.3.2 come back later\r\n")?;
                hold(&stream)
            }),
            "come back later",
        ),
        (
            "refuses EHLO",
            Box::new(|_, stream| smtp(stream, |line| line.starts_with("EHLO").then_some("502 what?"), taken)),
            "refuses EHLO",
        ),
    ];
    for (name, manner, said) in cases {
        let daemon = sender(server(manner));
        let sentence = wait_for_backend(&daemon, "down", said);
        assert!(!sentence.contains("secret"), "{name}: {sentence}");
        others_are_served(&daemon);
        let begun = Instant::now();
        assert_eq!(daemon.stop().code, 0, "{name}");
        assert!(begun.elapsed() < Duration::from_secs(8), "{name}: it stops in {:?}", begun.elapsed());
    }
}

/// Faults 41 and 42: what each answer means for the message.
#[test]
fn each_answer_of_a_server_has_its_meaning() {
    let cases: Vec<(&str, Box<Manner>, &str, &str)> = vec![
        (
            "a sender refused for now",
            Box::new(|_, stream| {
                smtp(stream, |line| line.starts_with("MAIL").then_some("451 4.7.1 grey"), taken)
            }),
            "queued",
            "SMTP 451",
        ),
        (
            "a sender refused for ever",
            Box::new(|_, stream| {
                smtp(stream, |line| line.starts_with("MAIL").then_some("550 5.7.1 not you"), taken)
            }),
            "failed",
            "SMTP 550",
        ),
        (
            "a receiver refused for ever, over several lines",
            Box::new(|_, stream| {
                smtp(
                    stream,
                    |line| line.starts_with("RCPT").then_some("550-5.1.1 no\r\n550 5.1.1 such user"),
                    taken,
                )
            }),
            "failed",
            "5.1.1 no 5.1.1 such user",
        ),
        (
            "hung up at RCPT",
            Box::new(|_, stream| {
                let also = stream.try_clone()?;
                smtp(
                    stream,
                    move |line| {
                        line.starts_with("RCPT").then(|| {
                            let _ = also.shutdown(std::net::Shutdown::Both);
                            "250 never heard"
                        })
                    },
                    taken,
                )
            }),
            "queued",
            "gave no answer",
        ),
        (
            "a mail refused for now",
            Box::new(|_, stream| {
                smtp(stream, |_| None, |_, mut stream| stream.write_all(b"452 4.3.1 full\r\n"))
            }),
            "queued",
            "SMTP 452",
        ),
        (
            "a mail refused for ever",
            Box::new(|_, stream| {
                smtp(stream, |_| None, |_, mut stream| stream.write_all(b"554 5.7.1 spam\r\n"))
            }),
            "failed",
            "SMTP 554",
        ),
        (
            "success that is none",
            Box::new(|_, stream| smtp(stream, |_| None, |_, mut stream| stream.write_all(b"550 250 OK\r\n"))),
            "failed",
            "SMTP 550",
        ),
        (
            "hung up after the dot",
            Box::new(|_, stream| smtp(stream, |_| None, hang_up)),
            "uncertain",
            "may have left",
        ),
        (
            "silent after the dot",
            Box::new(|_, stream| smtp(stream, |_| None, |_, stream| hold(stream))),
            "uncertain",
            "may have left",
        ),
    ];
    for (name, manner, state, reason) in cases {
        let daemon = sender(server(manner));
        wait_for_backend(&daemon, "up", "sending by");
        daemon.rapidsms(&["send", "mail", "ada@example.com", "hello"]).exits(0);
        wait_for(&daemon, "ada@example.com", state, reason);
        others_are_served(&daemon);
        assert_eq!(daemon.stop().code, 0, "{name}");
    }
}

/// P5: at most one more copy, and the servers on the way can tell that it is one.
#[test]
fn after_doubt_the_same_mail_leaves_once_more() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&seen);
    let port = server(move |_, stream| {
        let kept = Arc::clone(&kept);
        smtp(
            stream,
            |_| None,
            move |mail, stream| {
                let mut kept = kept.lock().unwrap();
                let name = mail.lines().find(|line| line.starts_with("Message-ID: ")).unwrap_or_default();
                kept.push(name.to_string());
                if kept.len() == 1 { hang_up(mail, stream) } else { taken(mail, stream) }
            },
        )
    });
    let daemon = sender(port);
    wait_for_backend(&daemon, "up", "");
    daemon.rapidsms(&["send", "mail", "ada@example.com", "hello"]).exits(0);
    wait_for(&daemon, "ada@example.com", "sent", "2.0.0 taken");
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert!(seen[0].contains("@example.org>") && seen[0] == seen[1], "{seen:?}");
}

/// One server that takes its time does not hold another line, and one connection serves several mails.
#[test]
fn several_mails_go_over_one_connection() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let port = server(move |_, stream| {
        count.fetch_add(1, Ordering::SeqCst);
        smtp(stream, |_| None, taken)
    });
    let daemon = sender(port);
    wait_for_backend(&daemon, "up", "");
    for number in 0..20 {
        let identity = format!("ada{number}@example.com");
        let body = serde_json::json!({ "backend": "mail", "identity": identity, "text": "hello" });
        assert_eq!(daemon.post_json("/api/v1/messages", &body).status, 202);
    }
    daemon.wait_until("all are sent", |daemon| {
        (daemon.messages("backend=mail&state=sent").len() == 20).then_some(())
    });
    assert!(connections.load(Ordering::SeqCst) <= 3, "{connections:?}");
}

// IMAP

/// Speaks IMAP with one unread mail; `odd` may answer a command in its own way: the whole answer, with `TAG` for the tag, or nothing to hang.
fn imap(mut stream: TcpStream, odd: impl Fn(&str) -> Option<Option<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    stream.write_all(b"* OK fake\r\n")?;
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let (tag, command) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
        let mail = "From: ada@example.com\r\nMessage-ID: <1@x>\r\n\r\necho hello";
        let usual = |command: &str| match command {
            "CAPABILITY" => "* CAPABILITY IMAP4rev1 IDLE\r\nTAG OK\r\n".to_string(),
            command if command.starts_with("SELECT") => {
                "* 1 EXISTS\r\n* OK [UIDVALIDITY 7] \r\nTAG OK [READ-WRITE] done\r\n".to_string()
            }
            command if command.starts_with("UID SEARCH") => "* SEARCH 1\r\nTAG OK done\r\n".to_string(),
            command if command.starts_with("UID FETCH") => {
                let size = mail.len();
                format!(
                    "* 1 FETCH (UID 1 RFC822.SIZE {size} BODY[]<0> {{{size}}}\r\n{mail})\r\nTAG OK done\r\n"
                )
            }
            "IDLE" => "+ idling\r\n".to_string(),
            _ => "TAG OK done\r\n".to_string(),
        };
        match odd(command) {
            Some(None) => return hold(&stream),
            Some(Some(answer)) => stream.write_all(answer.replace("TAG", tag).as_bytes())?,
            None => stream.write_all(usual(command).replace("TAG", tag).as_bytes())?,
        }
    }
}

fn receiver(imap_port: u16) -> Daemon {
    let smtp_port = server(|_, stream| smtp(stream, |_| None, taken));
    Daemon::start(&settings(&format!(
        "imap_host = \"127.0.0.1\"\nimap_port = {imap_port}\nsmtp_host = \"127.0.0.1\"\nsmtp_port = {smtp_port}\nsmtp_login = false"
    )))
}

/// Faults 43 and 44: a server that breaks off or lies costs a sentence, and its mail is not lost.
#[test]
fn a_mailbox_that_breaks_the_rules_costs_nobody_else_anything() {
    fn at(command: &'static str, answer: Option<&'static str>) -> Box<Manner> {
        Box::new(move |_, stream| {
            imap(stream, |said| said.starts_with(command).then(|| answer.map(str::to_string)))
        })
    }
    let cases: Vec<(&str, Box<Manner>, &str)> = vec![
        ("hangs before its greeting", Box::new(|_, stream| hold(&stream)), "no answer in time"),
        ("drips", Box::new(|_, stream| drip(&stream)), "in time"),
        (
            "never ends its line",
            Box::new(|_, mut stream| {
                loop {
                    stream.write_all(&[b'*'; 64 * 1024])?;
                }
            }),
            "127.0.0.1 greets strangely",
        ),
        ("speaks something else", Box::new(|_, mut stream| stream.write_all(b"220 smtp\r\n")), "127.0.0.1"),
        ("hangs at the login", at("LOGIN", None), "no answer in time"),
        ("is overloaded", at("LOGIN", Some("TAG NO [UNAVAILABLE] try later\r\n")), "at the moment"),
        ("says goodbye", at("UID SEARCH", Some("* BYE shutting down\r\n")), "127.0.0.1"),
        ("hangs at the search", at("UID SEARCH", None), "no answer in time"),
        (
            "breaks off within a mail",
            at("UID FETCH", Some("* 1 FETCH (UID 1 BODY[]<0> {100}\r\nFrom")),
            "no answer in time",
        ),
        (
            "announces 4 GiB",
            at("UID FETCH", Some("* 1 FETCH (UID 1 BODY[]<0> {4294967295}\r\nx")),
            "no answer in time",
        ),
        ("does not idle", at("IDLE", Some("TAG BAD what?\r\n")), ""),
        ("hangs at IDLE", at("IDLE", None), ""),
    ];
    for (name, manner, said) in cases {
        let daemon = receiver(server(manner));
        if !said.is_empty() {
            let sentence = wait_for_backend(&daemon, "down", said);
            assert!(!sentence.contains("secret"), "{name}: {sentence}");
        } else {
            daemon.wait_until(&format!("{name}: the mail is answered"), |daemon| {
                (daemon.messages("backend=mail&direction=out&state=sent").len() == 1).then_some(())
            });
            wait_for_backend(&daemon, "down", "");
        }
        others_are_served(&daemon);
        let begun = Instant::now();
        assert_eq!(daemon.stop().code, 0, "{name}");
        assert!(begun.elapsed() < Duration::from_secs(8), "{name}: it stops in {:?}", begun.elapsed());
    }
}

/// A server that sends a mail without end is cut off, and the memory stays.
#[test]
fn a_mail_without_an_end_is_cut_off() {
    let port = server(|_, stream| {
        let out = stream.try_clone()?;
        imap(stream, move |said| {
            if said.starts_with("UID FETCH") {
                let mut out = &out;
                let _ = out.write_all(b"* 1 FETCH (UID 1 BODY[]<0> {10737418240}\r\n");
                while out.write_all(&[b'x'; 64 * 1024]).is_ok() {}
            }
            None
        })
    });
    let daemon = receiver(port);
    daemon.wait_until("it is passed over or the line is down", |daemon| {
        let log = daemon.log();
        (log.contains("cannot be fetched") || log.contains("more than it was asked for")).then_some(())
    });
    others_are_served(&daemon);
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid().as_raw_nonzero())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").trim().parse().unwrap();
    assert!(kib < 128 * 1024, "P10: {kib} KiB");
}

/// One mail that the server cannot give out does not stand in the way of the next.
#[test]
fn a_mail_that_cannot_be_fetched_is_passed_over() {
    let port = server(|_, stream| {
        imap(stream, |said| {
            if said.starts_with("UID SEARCH") {
                return Some(Some("* SEARCH 1 2 3\r\nTAG OK done\r\n".into()));
            }
            if said.starts_with("UID FETCH 1 ") {
                return Some(Some("TAG NO [SERVERBUG] corrupted\r\n".into()));
            }
            if said.starts_with("UID FETCH 2 ") {
                return Some(Some("* 1 FETCH ((((\r\nTAG OK done\r\n".into()));
            }
            if said.starts_with("UID FETCH 3 ") {
                let mail = "From: ada@example.com\r\nMessage-ID: <3@x>\r\n\r\necho third";
                let size = mail.len();
                return Some(Some(format!(
                    "* 1 FETCH (UID 3 BODY[]<0> {{{size}}}\r\n{mail})\r\nTAG OK done\r\n"
                )));
            }
            None
        })
    });
    let daemon = receiver(port);
    daemon.wait_until("the third is answered", |daemon| {
        let sent = daemon.messages("backend=mail&direction=out");
        sent.iter().any(|message| message["text"] == "third").then_some(())
    });
}
