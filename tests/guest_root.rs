//! Even a guest's root, with all its capabilities, gets past nothing: the guest's kernel itself is held in from outside.
//!
//! This binary is both: the test, and (as `… __guest JOB`) the first process of the guest it starts, which attacks.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use halfopen::clock::guest::{Guest, GuestOptions, SUBCOMMAND};
use halfopen::clock::{FromLab, LabJob, Running, Shell, kernel};
use halfopen::record::ClockName;
use halfopen::scenario::{self, PlanOptions};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().position(|argument| argument == SUBCOMMAND) {
        Some(at) => inside(Path::new(&arguments[at + 1])),
        None if arguments.iter().any(|argument| argument == "--list") => {
            println!("a_guests_root_gets_past_nothing: test");
            ExitCode::SUCCESS
        }
        None => outside(),
    }
}

fn outside() -> ExitCode {
    let kernels = match kernel::choose(&[]) {
        Ok(kernels) => kernels,
        Err(error) => {
            println!("skipped: {error}");
            return ExitCode::SUCCESS;
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(attack(&kernels[0]));
    println!("test a_guests_root_gets_past_nothing ... ok");
    ExitCode::SUCCESS
}

async fn attack(kernel: &kernel::Kernel) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("precious");
    fs::write(&file, "precious").expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("a mode");
    let before = fs::metadata(&file).expect("a file");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    listener.set_nonblocking(true).expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    let mut sentinel = Sentinel(Command::new("sleep").arg("1000").spawn().expect("sleep"));
    // What the attacker is told: the folder, the port, and whom to kill.
    let shell = Shell {
        path: format!("{port} {}", sentinel.0.id()),
        folder: folder.path().to_path_buf(),
    };
    let scenario =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/scenarios/two-seconds.yaml");
    let cases = scenario::load(&scenario, &PlanOptions::default()).expect("a right scenario");
    // Any lab: nobody builds it.
    let job = LabJob {
        lab: cases[0].lab.clone(),
        clock: ClockName::Virtual,
        shell,
        later_ticks: 0,
    };
    let options = GuestOptions {
        memory_mib: 128,
        seed: 0,
        cpu: 0,
    };
    let mut guest = Running::Guest(Guest::start(kernel, &job, &options).expect("a guest"));
    let mut tries = Vec::new();
    let reading = async {
        while let Some(messages) = guest.next().await.expect("messages") {
            tries.extend(messages.into_iter().filter_map(|message| match message {
                FromLab::Kernel { release, .. } => Some(release),
                _ => None,
            }));
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reading)
        .await
        .expect("the guest ends");
    println!("{}", tries.join("\n"));
    let cause = guest.last_words().await.expect("a cause");
    assert!(cause.contains("rebooted from inside"), "{cause}");

    assert!(
        tries.iter().any(|t| t == "remount: done"),
        "the attack was a real one"
    );
    assert!(
        tries.iter().any(|t| t == "second hostfs: done"),
        "the attack was a real one"
    );
    for refused in tries.iter().filter(|t| t.starts_with("! ")) {
        assert!(!refused.ends_with("done"), "{refused}");
    }
    assert!(tries.len() > 20, "all was tried");
    let after = fs::metadata(&file).expect("it is there");
    assert_eq!(fs::read_to_string(&file).expect("a file"), "precious");
    assert_eq!(
        (
            after.mode(),
            after.uid(),
            after.gid(),
            after.mtime_nsec(),
            after.nlink()
        ),
        (
            before.mode(),
            before.uid(),
            before.gid(),
            before.mtime_nsec(),
            before.nlink()
        )
    );
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    assert!(listener.accept().is_err(), "nobody has connected");
    assert!(
        sentinel.0.try_wait().expect("a child").is_none(),
        "the process outside lives"
    );
}

struct Sentinel(Child);

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Tries everything, says what came of it, and reboots.
fn inside(job: &Path) -> ExitCode {
    let job: LabJob = serde_json::from_slice(&fs::read(job).expect("a job")).expect("a job");
    let flags = MsFlags::empty();
    let none = None::<&str>;
    mount(Some("proc"), "/proc", Some("proc"), flags, none).expect("/proc");
    mount(Some("dev"), "/dev", Some("devtmpfs"), flags, none).expect("/dev");
    let mut events = OpenOptions::new()
        .write(true)
        .open("/dev/tty1")
        .expect("the console");
    let mut say = |what: &str, result: io::Result<()>| {
        let text = match result {
            Ok(()) => format!("{what}: done"),
            Err(error) => format!("{what}: {error}"),
        };
        events
            .write_all(
                &FromLab::Kernel {
                    release: text,
                    hz: None,
                }
                .to_line(),
            )
            .expect("the console");
    };
    let folder = &job.shell.folder;
    say(
        "remount",
        mount(none, "/", none, MsFlags::MS_REMOUNT, none).map_err(io::Error::from),
    );
    on_files(folder, "root", &mut say);
    mount(Some("tmpfs"), "/mnt", Some("tmpfs"), flags, none).expect("a place");
    fs::create_dir("/mnt/again").expect("a place");
    let again = mount(Some("none"), "/mnt/again", Some("hostfs"), flags, Some("/"));
    say("second hostfs", again.map_err(io::Error::from));
    on_files(
        &Path::new("/mnt/again").join(folder.strip_prefix("/").expect("a whole path")),
        "hostfs",
        &mut say,
    );
    let mut told = job
        .shell
        .path
        .split(' ')
        .map(|number| number.parse::<u32>().expect("a number"));
    let (port, process) = (
        told.next().expect("a port"),
        told.next().expect("a process"),
    );
    let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).expect("a port")));
    say(
        "! connect",
        TcpStream::connect_timeout(&address, Duration::from_secs(1)).map(drop),
    );
    let kill =
        |process: i32| kill(Pid::from_raw(process), Signal::SIGKILL).map_err(io::Error::from);
    say("! kill", kill(process.cast_signed()));
    let _ = reboot(RebootMode::RB_AUTOBOOT);
    ExitCode::FAILURE
}

fn on_files(folder: &Path, by: &str, say: &mut impl FnMut(&str, io::Result<()>)) {
    let (file, new) = (folder.join("precious"), folder.join("new"));
    let node = CString::new(folder.join("node").to_str().expect("a path")).expect("a path");
    let made = || {
        // SAFETY: the path ends with NUL.
        match unsafe { libc::mknod(node.as_ptr(), libc::S_IFREG | 0o600, 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    let tries: [(&str, io::Result<()>); 11] = [
        (
            "write",
            OpenOptions::new()
                .write(true)
                .open(&file)
                .and_then(|mut f| f.write_all(b"broken").and(f.sync_all())),
        ),
        (
            "append",
            OpenOptions::new()
                .append(true)
                .open(&file)
                .and_then(|mut f| f.write_all(b"broken").and(f.sync_all())),
        ),
        (
            "truncate",
            OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(&file)
                .map(drop),
        ),
        ("create", fs::write(&new, "broken")),
        ("mkdir", fs::create_dir(&new)),
        ("symlink", symlink("/etc/passwd", &new)),
        ("link", fs::hard_link(&file, &new)),
        ("rename", fs::rename(&file, &new)),
        ("mknod", made()),
        (
            "chmod",
            fs::set_permissions(&file, fs::Permissions::from_mode(0o777)),
        ),
        ("chown", chown(&file, Some(12345), Some(12345))),
    ];
    for (what, result) in tries {
        say(&format!("! {what} by {by}"), result);
    }
    say(&format!("! unlink by {by}"), fs::remove_file(&file));
}
