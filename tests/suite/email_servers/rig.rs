//! A post office: Debian's Dovecot and Exim on 127.0.0.1 with a folder of their own, TLS with a certificate made for the day, and mailboxes as
//! folders that a test reads and writes itself. Nothing of the machine's own mail is touched.

use crate::daemon::PATIENCE;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The account of the router, its password, and who writes to it.
pub const SMS: &str = "sms@example.org";
pub const PASSWORD: &str = "a secret \"with\" \\signs";
pub const ADA: &str = "ada@example.com";
/// To whom all mailboxes belong: Exim with settings of its own may become nobody else.
const MAIL_USER: &str = "Debian-exim";

/// Both servers and their mailboxes.
pub struct Office {
    pub folder: TempDir,
    /// IMAP with STARTTLS or in clear, IMAP with TLS, SMTP.
    pub imap: u16,
    pub imaps: u16,
    pub smtp: u16,
    dovecot: Option<Server>,
    exim: Option<Server>,
}

impl Office {
    pub fn open() -> Office {
        for (program, package) in
            [("dovecot", "dovecot-imapd"), ("exim4", "exim4-daemon-light"), ("openssl", "openssl")]
        {
            assert!(
                path_of(program).is_some(),
                "this test needs {program}: install the Debian package {package} (scripts/test does it)"
            );
        }
        assert!(
            rustix_is_root(),
            "Dovecot and Exim work as users of their own, which only root may give them: run the tests as root"
        );
        let folder = tempfile::tempdir().unwrap();
        let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        open(folder.path());
        fs::create_dir(folder.path().join("mail")).unwrap();
        give_to_mail(&folder.path().join("mail"));
        // Exim writes to no folder whose name a stranger made up: those who get mail have one.
        for name in [SMS, ADA] {
            fs::create_dir(folder.path().join("mail").join(name)).unwrap();
            give_to_mail(&folder.path().join("mail").join(name));
        }
        for name in ["run", "state", "spool"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        give_to_mail(&folder.path().join("spool"));
        let [imap, imaps, smtp] = free_ports();
        let mut office = Office { folder, imap, imaps, smtp, dovecot: None, exim: None };
        office.certify("localhost");
        office.write("users", &format!("{SMS}:{{PLAIN}}{PASSWORD}\n"));
        office.write("password", PASSWORD);
        office.write("dovecot.conf", &office.dovecot_settings());
        office.write("exim.conf", &office.exim_settings());
        office.start_imap();
        office.start_smtp();
        office
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// A certificate for this name that nobody signed but itself.
    fn certify(&self, name: &str) {
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", &format!("/CN={name}")])
            .args([
                "-addext",
                &format!("subjectAltName=DNS:{name}"),
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ])
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        // Exim reads it as its own user.
        fs::set_permissions(self.path("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    }

    pub fn start_imap(&mut self) {
        let mut command = Command::new("dovecot");
        command.args(["-F", "-c"]).arg(self.path("dovecot.conf"));
        let server = Server::start(command);
        server.wait_for("starting up", 1);
        self.dovecot = Some(server);
    }

    pub fn stop_imap(&mut self) {
        self.dovecot = None;
    }

    pub fn start_smtp(&mut self) {
        let mut command = Command::new("exim4");
        command
            .arg("-bdf")
            .arg("-C")
            .arg(self.path("exim.conf"))
            .args(["-oX", &format!("127.0.0.1:{}", self.smtp)]);
        self.exim = Some(Server::start(command));
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.smtp)).is_err() {
            assert!(Instant::now() < deadline, "Exim does not listen:\n{}", self.exim_log());
        }
    }

    pub fn stop_smtp(&mut self) {
        self.exim = None;
    }

    pub fn exim_log(&self) -> String {
        let log = fs::read_to_string(self.path("spool/exim-main.log")).unwrap_or_default();
        let said = self.exim.as_ref().map(Server::log).unwrap_or_default();
        format!("{log}\n{said}")
    }

    /// What Dovecot said.
    pub fn imap_log(&self) -> String {
        self.dovecot.as_ref().map(Server::log).unwrap_or_default()
    }

    /// Waits until Dovecot has said this so many times.
    #[track_caller]
    pub fn imap_says(&self, part: &str, times: usize) {
        self.dovecot.as_ref().expect("it runs").wait_for(part, times);
    }

    fn mailbox(&self, address: &str) -> PathBuf {
        self.path("mail").join(address)
    }

    /// A mail lies in somebody's mailbox, unread.
    pub fn put(&self, address: &str, mail: &[u8]) -> String {
        let mailbox = self.mailbox(address);
        for name in ["", "tmp", "new", "cur"] {
            let folder = mailbox.join(name);
            if !folder.exists() {
                fs::create_dir_all(&folder).unwrap();
                give_to_mail(&folder);
            }
        }
        let number = fs::read_dir(mailbox.join("new")).unwrap().count()
            + fs::read_dir(mailbox.join("cur")).unwrap().count();
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let name = format!("{}.{number}N{nanos}.test", nanos / 1_000_000_000);
        let made = mailbox.join("tmp").join(&name);
        fs::write(&made, mail).unwrap();
        give_to_mail(&made);
        fs::rename(made, mailbox.join("new").join(&name)).unwrap();
        name
    }

    /// The mails in a folder of a mailbox: `cur` and `new`, by name.
    pub fn mails(&self, address: &str, folder: &str) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        for place in ["new", "cur"] {
            let folder = self.mailbox(address).join(folder).join(place);
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                // It may be renamed by Dovecot in this moment.
                if let Ok(mail) = fs::read(entry.path()) {
                    found.push((name, mail));
                }
            }
        }
        found.sort();
        found
    }

    /// Waits until somebody has so many mails, and gives them back.
    #[track_caller]
    pub fn wait_for_mails(&self, address: &str, count: usize) -> Vec<(String, Vec<u8>)> {
        self.wait(&format!("{address} has {count} mails"), || {
            let mails = self.mails(address, "");
            (mails.len() >= count).then_some(mails)
        })
    }

    /// Whether the mail with this name is marked as read.
    pub fn is_read(&self, address: &str, name: &str) -> bool {
        let flags = self
            .mails(address, "")
            .into_iter()
            .find_map(|(found, _)| found.strip_prefix(name).map(|rest| rest.to_string()));
        flags.is_some_and(|flags| flags.contains('S'))
    }

    /// While Dovecot is down: the folder is numbered anew, and all is unread.
    pub fn number_anew(&self) {
        assert!(self.dovecot.is_none());
        let mailbox = self.mailbox(SMS);
        for entry in fs::read_dir(&mailbox).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with("dovecot") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        for entry in fs::read_dir(mailbox.join("cur")).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let bare = name.split(":2,").next().unwrap();
            // Under another name, so that it is another file to the server, too.
            fs::rename(entry.path(), mailbox.join("new").join(format!("{bare}b"))).unwrap();
        }
    }

    #[track_caller]
    pub fn wait<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = ask() {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "in vain: {what}\nDovecot:\n{}\nExim:\n{}",
                self.imap_log(),
                self.exim_log()
            );
        }
    }

    fn dovecot_settings(&self) -> String {
        let folder = self.folder.path().display();
        let (imap, imaps) = (self.imap, self.imaps);
        format!(
            "base_dir = {folder}/run\nstate_dir = {folder}/state\nlog_path = /dev/stderr\nauth_verbose = yes\n\
             protocols = imap\nlisten = 127.0.0.1\nssl = yes\nssl_cert = <{folder}/cert.pem\nssl_key = <{folder}/key.pem\n\
             disable_plaintext_auth = no\nmail_location = maildir:{folder}/mail/%u\nfirst_valid_uid = 1\n\
             mail_uid = {MAIL_USER}\nmail_gid = {MAIL_USER}\nmaildir_very_dirty_syncs = no\n\
             passdb {{\n  driver = passwd-file\n  args = scheme=PLAIN username_format=%u {folder}/users\n}}\n\
             userdb {{\n  driver = static\n  args = uid={MAIL_USER} gid={MAIL_USER} home={folder}/mail/%u\n}}\n\
             service imap-login {{\n  inet_listener imap {{\n    port = {imap}\n  }}\n  inet_listener imaps {{\n    port = {imaps}\n    ssl = yes\n  }}\n}}\n\
             service stats {{\n  unix_listener stats-writer {{\n    mode = 0666\n  }}\n}}\n"
        )
    }

    fn exim_settings(&self) -> String {
        let folder = self.folder.path().display();
        format!(
            "primary_hostname = mx.example.org\nspool_directory = {folder}/spool\nlog_file_path = {folder}/spool/exim-%s.log\n\
             pid_file_path = {folder}/spool/exim.pid\nlocal_interfaces = 127.0.0.1\ntls_advertise_hosts = *\n\
             tls_certificate = {folder}/cert.pem\ntls_privatekey = {folder}/key.pem\ndsn_advertise_hosts = *\n\
             auth_advertise_hosts = ${{if eq{{$tls_in_cipher}}{{}}{{}}{{*}}}}\nqualify_domain = example.org\nkeep_environment =\ndeliver_drop_privilege = true\n\
             acl_smtp_rcpt = rcpt\nacl_smtp_data = data\nnever_users =\ntrusted_users = root\nhost_lookup =\nrfc1413_hosts =\n\
             smtp_accept_max_per_connection = 0\nqueue_only = false\nsplit_spool_directory = false\n\
             begin acl\n\
             rcpt:\n  require message = log in first\n    authenticated = *\n\
             \x20 deny message = 5.1.1 no such mailbox\n    local_parts = nobody\n\
             \x20 defer message = 4.2.2 mailbox full\n    local_parts = full\n\
             \x20 accept\n\
             data:\n  accept\n\
             begin routers\n\
             lost:\n  driver = redirect\n  domains = bounce.example\n  data = :fail: the mailbox was deleted\n  allow_fail\n\
             local:\n  driver = accept\n  transport = maildir\n\
             begin transports\n\
             maildir:\n  driver = appendfile\n  maildir_format\n  directory = {folder}/mail/${{lookup{{${{lc:$local_part@$domain}}}}dsearch{{{folder}/mail}}}}\n\
             \x20 create_directory\n  return_path_add\n  mode = 0600\n\
             begin retry\n* * F,1h,1m\n\
             begin authenticators\n\
             plain:\n  driver = plaintext\n  public_name = PLAIN\n  server_prompts = :\n\
             \x20 server_condition = ${{if and{{{{eq{{$auth2}}{{{SMS}}}}}{{eq{{$auth3}}{{${{readfile{{{folder}/password}}}}}}}}}}}}\n\
             \x20 server_set_id = $auth2\n"
        )
    }
}

/// A program that runs until it is dropped, and what it says.
struct Server {
    child: Child,
    log: Arc<(Mutex<(Vec<String>, bool)>, Condvar)>,
}

impl Server {
    fn start(mut command: Command) -> Server {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let log: Arc<(Mutex<(Vec<String>, bool)>, Condvar)> = Arc::default();
        let written = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                written.0.lock().unwrap_or_else(PoisonError::into_inner).0.push(line);
                written.1.notify_all();
            }
            written.0.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
            written.1.notify_all();
        });
        Server { child, log }
    }

    fn log(&self) -> String {
        self.log.0.lock().unwrap_or_else(PoisonError::into_inner).0.join("\n")
    }

    #[track_caller]
    fn wait_for(&self, part: &str, times: usize) {
        let guard = self.log.0.lock().unwrap_or_else(PoisonError::into_inner);
        let there =
            |log: &(Vec<String>, bool)| log.0.iter().filter(|line| line.contains(part)).count() >= times;
        let (guard, _) = self
            .log
            .1
            .wait_timeout_while(guard, PATIENCE, |log| !there(log) && !log.1)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(there(&guard), "no {part:?} in:\n{}", guard.0.join("\n"));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // TERM, so that the children go, too.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(5);
        while !matches!(self.child.try_wait(), Ok(Some(_))) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
        }
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        self.stop_imap();
        self.stop_smtp();
    }
}

fn path_of(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/sbin"]);
    folders.map(|folder| Path::new(folder).join(program)).find(|path| path.exists())
}

fn rustix_is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn user(name: &str) -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn give_to_mail(path: &Path) {
    let (uid, gid) = user(MAIL_USER).expect("the package exim4-base makes this user");
    chown(path, Some(uid), Some(gid)).unwrap();
}

fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// Passes a connection on, octet for octet, and calls `watch` with each piece that the client says, before it is passed on. `false` from it ends the
/// connection instead.
pub fn proxy(to: u16, watch: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> u16 {
    use std::io::Read;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let watch = Arc::new(watch);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
            let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_server, &mut to_client);
                let _ = to_client.shutdown(std::net::Shutdown::Both);
            });
            let watch = Arc::clone(&watch);
            std::thread::spawn(move || {
                let (mut client, mut server) = (client, server);
                let mut octets = [0; 64 * 1024];
                while let Ok(count @ 1..) = client.read(&mut octets) {
                    if !watch(&octets[..count]) || server.write_all(&octets[..count]).is_err() {
                        break;
                    }
                }
                let _ = server.shutdown(std::net::Shutdown::Both);
                let _ = client.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    port
}
