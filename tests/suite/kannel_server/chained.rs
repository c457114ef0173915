//! A real Kannel in front of this router, which is its `http` smsc of the kind `kannel`: Debian's bearerbox and smsbox on loopback, with free ports and a
//! folder of their own. Programs talk to Kannel, Kannel talks to us.

use super::super::daemon::{Answer, Daemon, Ended, folder};
use super::super::kannel_rig::{self, Ports, Program};
use super::project::{Peer, answer, sendsms};
use std::process::Command;
use tempfile::TempDir;

/// Kannel, with us as its only line.
struct Kannel {
    sendsms: String,
    bearerbox: Program,
    smsbox: Program,
    _folder: TempDir,
}

impl Kannel {
    /// `ours` is where this router serves Kannel's interface.
    fn start(ours: &str) -> Kannel {
        let Ports { admin, boxes, sendsms, link: back, .. } = Ports::free();
        let home = tempfile::tempdir().unwrap();
        let configuration = format!(
            "group = core\nadmin-port = {admin}\nadmin-interface = 127.0.0.1\nadmin-password = sesame\n\
             smsbox-port = {boxes}\nsmsbox-interface = 127.0.0.1\nbox-allow-ip = 127.0.0.1\nsms-resend-freq = 1\n\n\
             group = smsc\nsmsc = http\nsmsc-id = RAPID\nsystem-type = kannel\nport = {back}\nconnect-allow-ip = 127.0.0.1\n\
             send-url = \"http://{ours}/cgi-bin/sendsms\"\nsmsc-username = chained\nsmsc-password = secret\n\
             dlr-url = \"http://127.0.0.1:{back}/?username=chained&password=secret\"\n\n\
             group = smsbox\nbearerbox-host = 127.0.0.1\nsendsms-port = {sendsms}\nsendsms-interface = 127.0.0.1\n\n\
             group = sendsms-user\nusername = u\npassword = p\nmax-messages = 20\nconcatenation = true\n"
        );
        std::fs::write(home.path().join("kannel.conf"), configuration).unwrap();
        let (bearerbox, smsbox) = kannel_rig::Kannel::run(home.path());
        Kannel { sendsms: format!("127.0.0.1:{sendsms}"), bearerbox, smsbox, _folder: home }
    }

    /// A program sends by it.
    #[track_caller]
    fn send(&self, more: &str) -> Answer {
        let target = format!("/cgi-bin/sendsms?username=u&password=p&from=1234&to=%2B15551230001&{more}");
        let answer = sendsms(&self.sendsms, &target);
        let answer = answer.unwrap_or_else(|error| panic!("{error}:\n{}", self.smsbox.log()));
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer
    }
}

fn settings(own: &str) -> String {
    format!(
        r#"
INSTALLED_APPS = ["echo"]

[web]
listen = "127.0.0.1:0"

[kannel_server]
listen = "{own}"
backend = "phone"

[kannel_server.users.chained]
password = "secret"
max_messages = 1

[INSTALLED_BACKENDS.phone]
ENGINE = "httptester"
"#
    )
}

fn router() -> (Daemon, Kannel) {
    let Ports { router: own, .. } = Ports::free();
    let own = format!("127.0.0.1:{own}");
    (Daemon::start(&settings(&own)), Kannel::start(&own))
}

/// The texts that were sent, oldest first, once there are so many.
#[track_caller]
fn texts(daemon: &Daemon, count: usize, kannel: &Kannel) -> Vec<String> {
    let sent =
        daemon.wait_until(&format!("{count} are sent; Kannel:\n{}", kannel.bearerbox.log()), |daemon| {
            let sent = daemon.messages("direction=out&state=sent&order=asc");
            (sent.len() >= count).then_some(sent)
        });
    assert_eq!(sent.len(), count);
    assert!(sent.iter().all(|message| message["identity"] == "+15551230001"), "{sent:?}");
    sent.iter().map(|message| message["text"].as_str().unwrap().to_string()).collect()
}

#[test]
fn short_texts_arrive_as_they_were_sent() {
    let (daemon, kannel) = router();
    kannel.send("text=hello+world");
    assert_eq!(texts(&daemon, 1, &kannel), ["hello world"]);
    kannel.send("text=caf%C3%A9+%E2%82%AC%5B%7D&charset=UTF-8");
    assert_eq!(texts(&daemon, 2, &kannel)[1], "caf\u{e9} \u{20ac}[}");
    kannel.send("text=%E1%88%A1+%F0%9F%98%80&charset=UTF-8&coding=2");
    assert_eq!(texts(&daemon, 3, &kannel)[2], "\u{1221} \u{1f600}");
    kannel.send("text=now&mclass=0&validity=10");
    assert_eq!(texts(&daemon, 4, &kannel)[3], "now");
}

/// Each part is a message of its own here, and leaves as that part.
#[test]
fn long_texts_arrive_part_by_part() {
    let (daemon, kannel) = router();
    let long: String = (0..40).map(|number| format!("part {number:03} ")).collect();
    kannel.send(&format!("text={}", long.trim_end().replace(' ', "+")));
    // Kannel hands its parts over side by side, so they may come in any order.
    let mut parts = texts(&daemon, 3, &kannel);
    parts.sort_by_key(|part| long.find(part.as_str()));
    assert_eq!(parts.concat(), long.trim_end());
    assert!(parts[0].chars().count() <= 153, "{parts:?}");
    let letters = "\u{1221}\u{1208}\u{121d}".repeat(40);
    let encoded: String = letters.bytes().map(|octet| format!("%{octet:02X}")).collect();
    kannel.send(&format!("text={encoded}&charset=UTF-8&coding=2"));
    let mut parts = texts(&daemon, 5, &kannel).split_off(3);
    parts.sort_by_key(|part| std::cmp::Reverse(part.chars().count()));
    assert_eq!(parts.concat(), letters);
}

#[test]
fn nothing_is_lost_while_this_router_is_away() {
    let (daemon, kannel) = router();
    kannel.send("text=before");
    texts(&daemon, 1, &kannel);
    let Ended { folder, .. } = daemon.stop();
    kannel.send("text=meanwhile");
    kannel.bearerbox.wait_for("Couldn't connect", 1);
    let daemon = Daemon::start_in(folder);
    assert_eq!(texts(&daemon, 2, &kannel), ["before", "meanwhile"]);
}

/// To a Kannel every status but 202 means "never again"; so while the store is full it gets none.
#[test]
fn nothing_is_lost_while_the_store_is_full() {
    let Ports { router: own, .. } = Ports::free();
    let own = format!("127.0.0.1:{own}");
    let home = folder(&settings(&own));
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 4096; trap '' XFSZ; exec \"$0\" run_router"]);
    limited.arg(env!("CARGO_BIN_EXE_rapidsms")).current_dir(home.path());
    let daemon = Daemon::start_as(home, limited);
    let kannel = Kannel::start(&own);
    let filler = "x".repeat(150);
    let fill = format!("/cgi-bin/sendsms?username=chained&password=secret&from=1&to=111&text={filler}");
    daemon
        .wait_until("the store is full", |_| sendsms(&own, &fill).ok().filter(|answer| answer.status == 503));
    kannel.send("text=important");
    daemon
        .wait_until("Kannel was told nothing", |daemon| daemon.log().contains("from a Kannel").then_some(()));
    let Ended { folder, .. } = daemon.kill9();
    let daemon = Daemon::start_in(folder);
    daemon.wait_until(&format!("it comes again; Kannel:\n{}", kannel.bearerbox.log()), |daemon| {
        let found = daemon.messages("direction=out&identity=%2B15551230001&state=sent");
        (found.len() == 1 && found[0]["text"] == "important").then_some(())
    });
}

/// Kannel wraps the program's own address for reports into its own. That the message was handed on it reports by itself, as soon as we took it.
#[test]
fn a_program_behind_kannel_is_told_that_we_took_its_message() {
    let (daemon, kannel) = router();
    let peer = Peer::start(|_| answer(200, "text/plain", ""));
    let url = format!("http://{}/report?state=%d&phone=%p&words=%A", peer.address);
    let encoded: String = url.bytes().map(|octet| format!("%{octet:02X}")).collect();
    kannel.send(&format!("text=hello&dlr-mask=31&dlr-url={encoded}"));
    texts(&daemon, 1, &kannel);
    let asked = peer.asked();
    assert!(asked.target.starts_with("/report?state=8&phone=%2B15551230001"), "{}", asked.target);
}

/// Kannel puts its own address for reports around the program's; what becomes of the message later goes to Kannel, and from there to the program.
#[test]
fn reports_go_back_by_kannel() {
    let Ports { router: own, .. } = Ports::free();
    let own = format!("127.0.0.1:{own}");
    // Nobody is there to send it, so it waits until a person decides.
    let gone = settings(&own).replace("ENGINE = \"httptester\"", "ENGINE = \"gsm\"\nPORT = \"/dev/gone\"");
    let daemon = Daemon::start(&gone);
    let kannel = Kannel::start(&own);
    let peer = Peer::start(|_| answer(200, "text/plain", ""));
    let url = format!("http://{}/report?state=%d", peer.address);
    let encoded: String = url.bytes().map(|octet| format!("%{octet:02X}")).collect();
    kannel.send(&format!("text=hello&dlr-mask=3&dlr-url={encoded}"));
    let message =
        daemon.wait_until("it is here", |daemon| daemon.messages("direction=out&state=queued").pop());
    let path = format!("/api/v1/messages/{}", message["id"].as_str().unwrap());
    assert_eq!(daemon.post_json(&path, &serde_json::json!({ "state": "cancelled" })).status, 200);
    assert_eq!(peer.asked().target, "/report?state=2", "{}", kannel.bearerbox.log());
}
