//! The mount namespace a program lives in: the machine's files to read, its own places to write to, and nothing that
//! reaches beyond the lab.

use std::fs::{self, File};
use std::io;
use std::mem::size_of;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, chown};

use super::cover;
use super::files::{Files, Own};
use crate::contract::{CA_FILE, CERTIFICATE_FILE, DATA_FOLDER, FILES_FOLDER, KEY_FILE};
use crate::plan::Exec;

/// Devices that belong to nobody.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Where programs may write.
const PLACES: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// Most that a program may write to one of its places, in bytes, where nothing else is said.
const SPACE: u64 = 64 << 20;

/// Room for what a program is told of: the texts of a scenario, which has 1 MiB at most, and folders for them.
const RUN_SPACE: &str = "mode=755,size=8m";

/// What a room is made from; all paths are of the lab's own mount namespace.
#[derive(Debug)]
pub(super) struct Room {
    hosts: PathBuf,
    resolver: PathBuf,
    ca: PathBuf,
    dev: PathBuf,
    /// An empty folder.
    empty: PathBuf,
    /// Whether the machine's files are all around: in a guest they are another kernel's.
    on_machine: bool,
    /// Where the program is started: as from the shell, the folder that halfopen was started in.
    folder: PathBuf,
    /// Files and folders that the program's command and PATH name, to be seen wherever they lie.
    named: Vec<PathBuf>,
    /// What is a server's own.
    own: Option<Own>,
    /// The scenario's files for it: their names and texts.
    texts: Vec<(String, String)>,
    /// What it may write to each of its places, in bytes.
    space: u64,
}

impl Room {
    /// Of a program that is started by `command` (its own, or another beside it) and looks for others in `path`.
    pub(super) fn new(files: &Files, exec: &Exec, command: &[String], path: &str) -> Self {
        let folder = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let told_of = exec.told_of.iter().cloned();
        Self {
            hosts: files.hosts(),
            resolver: files.resolver(),
            ca: files.ca(),
            dev: files.dev(),
            empty: files.empty(),
            on_machine: files.on_machine(),
            folder,
            named: named(told_of, command, path),
            own: None,
            texts: exec.files.clone(),
            space: exec.limits.tmpfs.unwrap_or(SPACE),
        }
    }

    /// With what is a server's own.
    pub(super) fn with(self, own: Own) -> Self {
        Self {
            own: Some(own),
            ..self
        }
    }

    /// Moves this process into a mount namespace of its own and furnishes it. It must be the first of a new PID
    /// namespace, and single. Says whether no path leads to the machine's processes.
    ///
    /// # Errors
    /// The step that failed, in words, and why.
    pub(super) fn furnish(&self) -> Result<bool, (String, io::Error)> {
        unshare(CloneFlags::CLONE_NEWNS)
            .map_err(|e| ("making a mount namespace".to_owned(), e.into()))?;
        self.steps()
            .map_err(|(what, error)| (format!("furnishing a program's {what}"), error))
    }

    /// Whether it is a room on the machine itself, and not in a guest.
    pub(super) fn is_on_machine(&self) -> bool {
        self.on_machine
    }

    /// Where a program may write.
    pub(super) fn writable(&self) -> Vec<&'static str> {
        let places = PLACES
            .into_iter()
            .filter(|place| self.folder != Path::new(place));
        let own = self.own.iter().map(|_| DATA_FOLDER);
        places.chain(["/dev"]).chain(own).collect()
    }

    fn steps(&self) -> Result<bool, (&'static str, io::Error)> {
        let at = |what| move |error| (what, error);
        private().map_err(at("mounts"))?;
        let covered = match self.on_machine {
            true => cover::cover(&self.empty).map_err(at("cover over the machine's files"))?,
            false => true,
        };
        self.devices().map_err(at("/dev"))?;
        bind(&self.hosts, Path::new("/etc/hosts")).map_err(at("/etc/hosts"))?;
        self.no_resolver().map_err(at("/etc/resolv.conf"))?;
        self.own_run().map_err(at("/run"))?;
        mount_new("proc", "/proc", "").map_err(at("/proc"))?;
        first_to_go().map_err(at("place when memory runs out"))?;
        limit_processes().map_err(at("limit of processes"))?;
        // From here on everything is to be read only, /proc included: a program that is root of its user namespace
        // could change sysctls there, and on the machine's own root even reboot it.
        read_only().map_err(at("read-only root"))?;
        self.places().map_err(at("places to write to"))?;
        if self.own.is_some() {
            set_writable(Path::new(DATA_FOLDER)).map_err(at("own folder"))?;
        }
        std::env::set_current_dir(&self.folder).map_err(at("working folder"))?;
        Ok(covered)
    }

    /// A /dev without disks, terminals and consoles.
    fn devices(&self) -> io::Result<()> {
        mount_new("tmpfs", &self.dev, "mode=755,size=64k")?;
        for device in DEVICES {
            let (from, to) = (Path::new("/dev").join(device), self.dev.join(device));
            if from.exists() {
                File::create(&to)?;
                bind(&from, &to)?;
            }
        }
        for (name, target) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "fd/0"),
            ("stdout", "fd/1"),
            ("stderr", "fd/2"),
        ] {
            symlink(target, self.dev.join(name))?;
        }
        fs::create_dir(self.dev.join("shm"))?;
        Ok(mount(
            Some(&self.dev),
            "/dev",
            None::<&str>,
            MsFlags::MS_MOVE,
            None::<&str>,
        )?)
    }

    /// /etc/resolv.conf may be a link into /run, which leads nowhere here: then there is no name server either.
    fn no_resolver(&self) -> io::Result<()> {
        let path = Path::new("/etc/resolv.conf");
        if path.exists() {
            bind(&self.resolver, path)
        } else {
            Ok(())
        }
    }

    /// A /run with nothing in it but what programs are told of.
    fn own_run(&self) -> io::Result<()> {
        let ca = fs::read(&self.ca)?;
        let own = self.own.as_ref().map(Opened::of).transpose()?;
        mount_new("tmpfs", "/run", RUN_SPACE)?;
        let file = Path::new(CA_FILE);
        fs::create_dir_all(file.parent().unwrap_or(file))?;
        fs::write(file, ca)?;
        for (name, text) in &self.texts {
            let file = Path::new(FILES_FOLDER).join(name);
            fs::create_dir_all(file.parent().unwrap_or(&file))?;
            fs::write(file, text)?;
        }
        own.map_or(Ok(()), Opened::lay)
    }

    /// What is to be seen of `place`: the folder that the program is started in, and each file or folder right under the
    /// place with something in it that is named.
    fn kept_in(&self, place: &Path) -> Vec<PathBuf> {
        let mut kept = Vec::new();
        let inside = self.named.iter().filter_map(|path| {
            let first = path.strip_prefix(place).ok()?.components().next()?;
            Some(place.join(first))
        });
        let folder = self.folder.starts_with(place).then(|| self.folder.clone());
        for path in inside.chain(folder) {
            // One within another is seen with it.
            if path.exists() && !kept.iter().any(|known| path.starts_with(known)) {
                kept.push(path);
            }
        }
        kept
    }

    /// Tmpfs where programs write. The folder that the program is started in, and what its command names, stay to be seen
    /// there, as they were.
    fn places(&self) -> io::Result<()> {
        for place in PLACES.map(Path::new) {
            if !place.is_dir() || self.folder == place {
                continue;
            }
            let mut kept = Vec::new();
            for path in self.kept_in(place) {
                kept.push((File::open(&path)?, path));
            }
            mount_new("tmpfs", place, &format!("mode=1777,size={}", self.space))?;
            for (file, path) in kept {
                if file.metadata()?.is_dir() {
                    fs::create_dir_all(&path)?;
                } else {
                    File::create(&path)?;
                }
                bind(&descriptor(&file), &path)?;
                read_only_at(&path)?;
            }
        }
        Ok(())
    }
}

/// What is a server's own, taken along before what it lies in is covered.
struct Opened {
    data: File,
    certificate: Vec<u8>,
    key: Vec<u8>,
    user: Option<(Uid, Gid)>,
}

impl Opened {
    fn of(own: &Own) -> io::Result<Self> {
        Ok(Self {
            data: File::open(&own.data)?,
            certificate: fs::read(&own.certificate)?,
            key: fs::read(&own.key)?,
            user: own.user,
        })
    }

    fn lay(self) -> io::Result<()> {
        fs::write(CERTIFICATE_FILE, self.certificate)?;
        fs::write(KEY_FILE, self.key)?;
        // Servers refuse a key that others may read.
        fs::set_permissions(KEY_FILE, fs::Permissions::from_mode(0o600))?;
        if let Some((user, group)) = self.user {
            chown(KEY_FILE, Some(user), Some(group))?;
        }
        fs::create_dir(DATA_FOLDER)?;
        bind(&descriptor(&self.data), Path::new(DATA_FOLDER))
    }
}

/// What a program is told of, by its command and PATH as well, without links.
fn named(told_of: impl Iterator<Item = PathBuf>, command: &[String], path: &str) -> Vec<PathBuf> {
    let words = command.iter().map(PathBuf::from);
    told_of
        .chain(words)
        .chain(std::env::split_paths(path))
        .filter(|word| word.is_absolute())
        .flat_map(|word| [word.canonicalize().ok(), Some(word)])
        .flatten()
        .collect()
}

/// The name of an open folder, also of one that something is mounted over.
fn descriptor(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// What is mounted here is mounted nowhere else.
fn private() -> io::Result<()> {
    let none = None::<&str>;
    Ok(mount(
        none,
        "/",
        none,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        none,
    )?)
}

fn mount_new(kind: &str, place: impl AsRef<Path>, options: &str) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(
        Some(kind),
        place.as_ref(),
        Some(kind),
        flags,
        Some(options),
    )?)
}

fn bind(from: &Path, to: &Path) -> io::Result<()> {
    Ok(mount(
        Some(from),
        to,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )?)
}

/// Every mount there is.
fn read_only() -> io::Result<()> {
    set_read_only(Path::new("/"), libc::AT_RECURSIVE)
}

fn read_only_at(place: &Path) -> io::Result<()> {
    set_read_only(place, 0)
}

/// This mount alone.
fn set_writable(place: &Path) -> io::Result<()> {
    set_attributes(place, 0, 0, libc::MOUNT_ATTR_RDONLY)
}

fn set_read_only(place: &Path, flags: libc::c_int) -> io::Result<()> {
    let set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID;
    set_attributes(place, flags, set, 0)
}

fn set_attributes(place: &Path, flags: libc::c_int, set: u64, clear: u64) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let place = std::ffi::CString::new(place.as_os_str().as_bytes())?;
    // SAFETY: plain integers, for which zero is a value.
    let mut attributes: libc::mount_attr = unsafe { std::mem::zeroed() };
    attributes.attr_set = set;
    attributes.attr_clr = clear;
    // SAFETY: the path ends with NUL, and the size is that of the attributes; both live through the call.
    let result = unsafe {
        let (attributes, size) = (&raw const attributes, size_of::<libc::mount_attr>());
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            place.as_ptr(),
            flags,
            attributes,
            size,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Where the machine's memory runs out, it is a program that ends.
fn first_to_go() -> io::Result<()> {
    fs::write("/proc/self/oom_score_adj", "1000")
}

/// Processes and threads that a program may have.
pub(super) const MOST_PROCESSES: u64 = 1024;

/// The first kernel in which `kernel.pid_max` belongs to a PID namespace; before, it is the whole machine's.
const OWN_PID_MAX: (u32, u32) = (6, 14);

/// Limits the processes of this PID namespace, where the kernel can.
fn limit_processes() -> io::Result<()> {
    if crate::linux::kernel::kernel_release() < OWN_PID_MAX {
        return Ok(());
    }
    fs::write("/proc/sys/kernel/pid_max", MOST_PROCESSES.to_string())
}
