//! A guest: one User Mode Linux kernel, confined, whose first process is the lab process.
//!
//! Its time jumps to the next timer when nothing is runnable (`time-travel=inf-cpu`). What the lab says goes through
//! the guest's first console into a memory file: writing there never waits, so it can't stall the guest's time, and
//! what was written survives a panic and a SIGKILL.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::personality::{self, Persona};
use nix::sys::prctl::{set_child_subreaper, set_pdeathsig};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::process::Child;

use super::confine::{ConfineError, Confinement};
use super::folder::{self, Folder};
use super::kernel::Kernel;
use super::{FromLab, LabJob};

/// Name of the hidden subcommand that is a guest's first process.
pub const SUBCOMMAND: &str = "__guest";

/// Instead of the kernel's own path in its argument list: a guest that reboots executes that, and must not come back.
const NO_REBOOT: &str = "/halfopen-guest-must-not-reboot";

/// The job's file, and this program, in the guest's private folder. The guest finds them through the host's
/// /proc, which it sees until it mounts its own: by the same names, wherever they lie.
const JOB: &str = "job.json";
const INIT: &str = "init";

/// The private folder, as the guest sees it.
const PRIVATE: &str = "/proc/self/cwd";

/// The guest's wall clock when it starts, in nanoseconds since 1970: always the same, 2026-01-01.
const START_NS: u64 = 1_767_225_600_000_000_000;

/// What a guest's programs may write into its memory files, in bytes; the guest is ended beyond it.
const MOST_OUTPUT: u64 = 2 << 30;

/// Time the programs of ended guests have for being gone.
const LAST_MOMENTS: Duration = Duration::from_secs(2);

/// How often one looks whether they are.
const GONE_EVERY: Duration = Duration::from_millis(1);

/// How often the parent looks for new messages, in wall time.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Descriptors in the kernel process: its log, and the events.
const LOG_FD: RawFd = 4;
const EVENTS_FD: RawFd = 3;

/// Why a guest could not be started.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// There is no place for its memory.
    #[error("there is no room for a guest's memory: {0}")]
    Memory(String),
    /// There is no place for its few files.
    #[error("there is no folder for a guest's files: {0}")]
    Files(String),
    /// It can't be confined.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// It could not be started.
    #[error("failed to start the guest kernel {}", kernel.display())]
    Start {
        /// The kernel.
        kernel: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else on the way.
    #[error("failed to prepare the guest")]
    Prepare(#[from] io::Error),
}

/// How a guest is made.
#[derive(Debug, Clone)]
pub struct GuestOptions {
    /// Memory, in MiB.
    pub memory_mib: u32,
    /// Seed of the guest kernel's randomness, where the kernel can be seeded.
    pub seed: u64,
    /// The one processor it runs on: kernel and programs hand over to each other all the time, and waking another
    /// processor for that is many times slower.
    pub cpu: usize,
}

/// A running guest. Dropping it ends it.
pub struct Guest {
    child: Child,
    /// Of its kernel and all its programs.
    group: Pid,
    events: MemoryFile,
    log: MemoryFile,
    unread: Vec<u8>,
    status: Option<ExitStatus>,
    /// Holds the guest's memory and its job; removed with it.
    _folder: Folder,
}

impl Guest {
    /// Starts `kernel` with `job` for its lab process.
    ///
    /// # Errors
    /// See [`GuestError`].
    pub fn start(
        kernel: &Kernel,
        job: &LabJob,
        options: &GuestOptions,
    ) -> Result<Self, GuestError> {
        let in_folder = (!kernel.has_memory_in_memfd()).then_some(options.memory_mib);
        let folder = Folder::make(in_folder, &[JOB, INIT])?;
        lay_init(&folder.path().join(INIT))?;
        fs::write(
            folder.path().join(JOB),
            serde_json::to_vec(job).map_err(io::Error::other)?,
        )?;
        let (events, log) = (
            MemoryFile::new(c"halfopen-events")?,
            MemoryFile::new(c"halfopen-log")?,
        );
        let mut confinement = Confinement::new(folder.path())?;
        let (events_fd, log_fd) = (events.file.as_raw_fd(), log.file.as_raw_fd());
        let keeper = folder.keeper().as_raw_fd();
        let mut command = Command::new(&kernel.path);
        command
            .arg0(NO_REBOOT)
            .args(arguments(kernel, options))
            .env_clear()
            .current_dir(folder.path())
            .env("TMPDIR", ".")
            .env("UML_RANDOM_SEED", options.seed.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::from(log.file.try_clone()?))
            .stderr(Stdio::from(log.file.try_clone()?));
        if kernel.has_memory_in_memfd() {
            command.env("UML_MEMORY_IN_MEMFD", "1");
        }
        // Its memory is a file, too, and the kernel makes it longer than what it uses.
        let (cpu, most_output) = (
            options.cpu,
            MOST_OUTPUT + (u64::from(options.memory_mib) << 20),
        );
        // SAFETY: between fork and exec only system calls are made; what they need was allocated before.
        unsafe {
            command.pre_exec(move || {
                set_pdeathsig(Signal::SIGKILL)?;
                folder::lead(keeper)?;
                settle(cpu, most_output)?;
                for (from, to) in [(log_fd, LOG_FD), (events_fd, EVENTS_FD)] {
                    place(from, to)?;
                }
                confinement.apply()
            });
        }
        let mut command = tokio::process::Command::from(command);
        let start = |source| GuestError::Start {
            kernel: kernel.path.clone(),
            source,
        };
        let child = command.kill_on_drop(true).spawn().map_err(start)?;
        // It was not waited for yet, so it has its number still.
        let group = Pid::from_raw(child.id().unwrap_or_default().cast_signed());
        Ok(Self {
            child,
            group,
            events,
            log,
            unread: Vec::new(),
            status: None,
            _folder: folder,
        })
    }

    /// As [`super::Running::next`].
    pub(super) async fn next(&mut self) -> io::Result<Option<Vec<FromLab>>> {
        loop {
            let ended = self.status.is_some();
            let messages = self.messages()?;
            if !messages.is_empty() {
                return Ok(Some(messages));
            }
            if ended {
                return Ok(None);
            }
            if self.events.len() + self.log.len() > MOST_OUTPUT {
                return Err(io::Error::other(format!(
                    "it has written more than {} MiB",
                    MOST_OUTPUT >> 20
                )));
            }
            tokio::select! {
                status = self.child.wait() => self.status = Some(status?),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// What the lab has said since the last call: whole lines only.
    fn messages(&mut self) -> io::Result<Vec<FromLab>> {
        self.events.read_new(&mut self.unread)?;
        let Some(end) = self.unread.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        let whole: Vec<u8> = self.unread.drain(..=end).collect();
        let lines = whole
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_slice(line).map_err(io::Error::from))
            .collect()
    }

    /// As [`super::Running::last_words`].
    pub(super) async fn last_words(&mut self) -> Option<String> {
        let status = match self.status {
            Some(status) => status,
            None => self.child.wait().await.ok()?,
        };
        Some(self.cause_of_death(status))
    }

    /// Processor time that it has used so far, its programs' included; zero when it is gone.
    #[must_use]
    pub fn processor_time(&self) -> Duration {
        self.child.id().map_or(Duration::ZERO, used_by)
    }

    /// Ends it. Its programs end with it, a moment later: see [`Orphans`].
    pub(super) async fn end(&mut self) {
        let _ = self.child.kill().await;
    }

    /// What ended a guest whose cases are not all over, from its kernel's own log.
    fn cause_of_death(&mut self, status: ExitStatus) -> String {
        let mut log = Vec::new();
        let _ = self.log.read_new(&mut log);
        let log = String::from_utf8_lossy(&log);
        let says = |text: &str| {
            log.lines()
                .rev()
                .find(|line| line.contains(text))
                .map(str::trim)
        };
        if says("Failed to exec kernel").is_some() || says("Restarting system").is_some() {
            "the guest was rebooted from inside, which is forbidden".to_owned()
        } else if says("Requested init").is_some() && own_place().is_none() {
            "another file has taken the place of this program just when the guest was to open it; run the case again"
                .to_owned()
        } else if let Some(line) = says("Kernel panic") {
            let memory = says("Out of memory")
                .map(|line| format!(" after \"{line}\""))
                .unwrap_or_default();
            format!("the guest's kernel ended: {line}{memory}")
        } else if let Some(line) = says("Out of memory") {
            format!("the guest ran out of memory: {line}")
        } else if status.signal() == Some(Signal::SIGXFSZ as i32) {
            format!(
                "the guest was ended: what it wrote to one file is more than {} MiB",
                MOST_OUTPUT >> 20
            )
        } else {
            let last = log
                .lines()
                .rev()
                .find(|line| !line.trim().is_empty())
                .unwrap_or("nothing");
            format!("the guest ended ({status}); its last word was: {last}")
        }
    }
}

impl Drop for Guest {
    /// Ends what is left of it: a program that its kernel had just started may not have asked yet to be ended with it. The
    /// group's number is nobody else's as long as one is left.
    fn drop(&mut self) {
        if self.group.as_raw() > 1 {
            let _ = killpg(self.group, Signal::SIGKILL);
        }
    }
}

/// The programs of guests, and the labs of keepers. Each is a process of the machine that is killed when its guest's kernel or
/// its keeper ends, in whatever way; but that takes the machine a moment, in which the other is gone already. This process
/// takes them in, to see them gone.
pub struct Orphans(());

impl Orphans {
    /// From now on, for the rest of this process.
    ///
    /// # Errors
    /// If the machine refuses.
    pub fn take_in() -> io::Result<Self> {
        set_child_subreaper(true)?;
        Ok(Self(()))
    }

    /// Waits until this process has no children any more. Call when all guests and keepers were waited for: nobody
    /// else may wait.
    pub async fn gone(self) {
        let begun = Instant::now();
        while begun.elapsed() < LAST_MOMENTS {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => tokio::time::sleep(GONE_EVERY).await,
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(_) => return,
            }
        }
    }
}

/// Whether a guest's addresses can be the same in every run here; where they can't, neither can its dice.
#[must_use]
pub fn addresses_can_be_fixed() -> bool {
    // What this process has is what guests begin with; it has no other use for random addresses.
    personality::get()
        .and_then(|now| personality::set(now | Persona::ADDR_NO_RANDOMIZE))
        .is_ok()
}

/// This program, whatever lies in its place by now.
const OWN: &str = "/proc/self/exe";

/// Puts this program where the guest finds it: a link, or a copy when something else lies in its place by now (it was built or
/// installed anew).
fn lay_init(place: &Path) -> io::Result<()> {
    match own_place() {
        Some(program) => symlink(program, place),
        None => fs::copy(OWN, place).map(drop),
    }
}

/// Where this program's file lies, if that is where it was started from.
fn own_place() -> Option<PathBuf> {
    let file = |path: &Path| {
        let about = fs::metadata(path).ok()?;
        Some((about.dev(), about.ino()))
    };
    let place = std::env::current_exe().ok()?;
    (file(&place) == file(Path::new(OWN))).then_some(place)
}

/// Processor time of a process, of the children it has, and of those it had.
fn used_by(process: u32) -> Duration {
    let ticks: u64 = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let one: u32 = name.to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // A program's name may hold anything, and ends with the last parenthesis. See proc_pid_stat(5).
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
            let own = field(14)? + field(15)?;
            if one == process {
                Some(own + field(16)? + field(17)?)
            } else {
                (field(4)? == u64::from(process)).then_some(own)
            }
        })
        .sum();
    // USER_HZ, which is 100 on every machine that has guests.
    Duration::from_millis(ticks * 10)
}

/// A file in memory that a guest appends to and we read.
struct MemoryFile {
    file: File,
    read: u64,
}

impl MemoryFile {
    fn new(name: &CStr) -> io::Result<Self> {
        let file = memfd_create(name, MFdFlags::MFD_CLOEXEC)?;
        nix::fcntl::fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
        // Out of the way of the numbers it is given in the guest's process.
        let raw = nix::fcntl::fcntl(&file, FcntlArg::F_DUPFD_CLOEXEC(LOG_FD + 6))?;
        // SAFETY: the kernel has just made this descriptor for us.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(raw) });
        Ok(Self { file, read: 0 })
    }

    fn read_new(&mut self, into: &mut Vec<u8>) -> io::Result<()> {
        let new = usize::try_from(self.len() - self.read).unwrap_or(usize::MAX);
        let begin = into.len();
        into.resize(begin + new, 0);
        let read = self.file.read_at(&mut into[begin..], self.read)?;
        into.truncate(begin + read);
        self.read += read as u64;
        Ok(())
    }

    fn len(&self) -> u64 {
        self.file.metadata().map_or(0, |m| m.len())
    }
}

/// The kernel's arguments. It mixes them into its randomness, so none may say where something lies: the private folder is
/// the working one.
fn arguments(kernel: &Kernel, options: &GuestOptions) -> Vec<String> {
    let mut arguments = vec![
        "time-travel=inf-cpu".to_owned(),
        format!("time-travel-start={START_NS}"),
    ];
    if kernel.has_seccomp_mode() {
        arguments.push("seccomp=on".to_owned());
    }
    let fixed = "rootfstype=hostfs rootflags=/ root=/dev/root ro quiet console=tty0 uml_dir=./ umid=guest con=null \
                 panic=-1 random.trust_cpu=on random.trust_bootloader=on";
    arguments.extend(fixed.split_whitespace().map(str::to_owned));
    arguments.extend([
        format!("mem={}M", options.memory_mib),
        format!("con0=null,fd:{LOG_FD}"),
        format!("con1=null,fd:{EVENTS_FD}"),
        format!("init={PRIVATE}/{INIT}"),
        "--".to_owned(),
        SUBCOMMAND.to_owned(),
        format!("{PRIVATE}/{JOB}"),
    ]);
    arguments
}

/// One processor, no core files, files no longer than what a guest may write, and addresses that are the same in every
/// run.
fn settle(cpu: usize, longest_file: u64) -> io::Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    // Where the processor is not ours to choose, the guest is slower and as right.
    let _ = sched_setaffinity(Pid::from_raw(0), &cpus);
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    setrlimit(Resource::RLIMIT_FSIZE, longest_file, longest_file)?;
    // The kernel would do it itself and execute itself again; where it is forbidden, it does.
    let _ = personality::set(Persona::ADDR_NO_RANDOMIZE);
    Ok(())
}

/// Puts a descriptor where the kernel's arguments say it is, open across exec.
fn place(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: both are numbers of descriptors of this process alone; nothing else runs in it before exec.
    let result = unsafe { libc::dup2(from, to) };
    // dup2 of a descriptor onto itself leaves close-on-exec set.
    // SAFETY: as above.
    let cleared = unsafe { libc::fcntl(to, libc::F_SETFD, 0) };
    if result < 0 || cleared < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
