//! What a program reaches of the machine that is no file: processes behind sockets and FIFOs, keys, other networks, memory.

use std::fs;
use std::path::{Path, PathBuf};

use halfopen::record::Observation;

use crate::attacks::{all_beside, beside, passes};
use crate::machine;
use crate::needs;
use crate::shared::{self, Clock, clocks, run};

/// A folder that programs of labs can see, with a socket and a FIFO of this machine in it, and who waits at their other end.
struct Bait {
    folder: tempfile::TempDir,
    listener: std::os::unix::net::UnixListener,
    fifo: fs::File,
    other: fs::File,
}

impl Bait {
    fn lay(place: &Path) -> Self {
        use std::os::unix::fs::OpenOptionsExt as _;
        let folder = tempfile::tempdir_in(place).expect("a folder");
        let path = folder.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(path).expect("a listener");
        listener.set_nonblocking(true).expect("a listener");
        let open = |name: &str| {
            let path = folder.path().join(name);
            let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
            nix::unistd::mkfifo(&path, mode).expect("a FIFO");
            // Both ends, so that nobody has to wait for the other.
            let mut options = fs::OpenOptions::new();
            options
                .read(true)
                .write(true)
                .custom_flags(libc::O_NONBLOCK);
            options.open(path).expect("a FIFO")
        };
        let (fifo, mut other) = (open("fifo"), open("secrets"));
        std::io::Write::write_all(&mut other, b"secret").expect("a FIFO");
        Self {
            listener,
            fifo,
            other,
            folder,
        }
    }

    /// Nobody has come, nobody has written, and nobody has read.
    fn is_untouched(&mut self) -> bool {
        let mut room = [0; 16];
        let came = self.listener.accept().is_ok();
        let written = std::io::Read::read(&mut self.fifo, &mut room).is_ok();
        let left = std::io::Read::read(&mut self.other, &mut room).unwrap_or(0);
        !came && !written && left == 6
    }
}

#[test]
fn a_program_reaches_no_socket_and_no_fifo_of_the_machine_by_its_path() {
    let python = needs::python();
    let places = [
        shared::repository().join("target"),
        PathBuf::from("/var/tmp"),
        std::env::temp_dir(),
    ];
    for clock in clocks() {
        let mut baits = places.each_ref().map(|place| Bait::lay(place));
        let commands = baits.each_ref().map(|bait| {
            let folder = bait.folder.path().display();
            let script = format!(
                "import os, socket, tempfile\n\
                 def tries(what, act):\n\
                 \x20   try:\n\
                 \x20       print('BROKEN', what, act())\n\
                 \x20   except OSError as error:\n\
                 \x20       print(what, error)\n\
                 path = '{folder}/'\n\
                 for kind in [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET]:\n\
                 \x20   tries('connect', lambda: socket.socket(socket.AF_UNIX, kind).connect(path + 'socket'))\n\
                 tries('write', lambda: os.write(os.open(path + 'fifo', os.O_WRONLY | os.O_NONBLOCK), b'x'))\n\
                 tries('read', lambda: os.read(os.open(path + 'secrets', os.O_RDONLY | os.O_NONBLOCK), 9))\n\
                 own = tempfile.mkdtemp() + '/own'\n\
                 server = socket.socket(socket.AF_UNIX)\n\
                 server.bind(own)\n\
                 server.listen()\n\
                 socket.socket(socket.AF_UNIX).connect(own)\n\
                 a, b = socket.socketpair()\n\
                 os.mkfifo(own + '.fifo')\n\
                 os.open(own + '.fifo', os.O_RDWR)\n\
                 os.rename(own + '.fifo', own + '.moved')\n\
                 print('own are fine')\n"
            );
            // Named, so that it is seen where programs' own folders are.
            let named = bait.folder.path().to_str().expect("UTF-8");
            serde_json::to_string(&[&python, "-c", &script, named]).expect("text")
        });
        let run = run(&all_beside(&commands), clock, &[]);
        passes(&run);
        let output = run.output();
        let broken = output.lines().find(|line| {
            // To read nothing from a FIFO of its own is no secret.
            line.starts_with("BROKEN") && *line != "BROKEN read b''"
        });
        assert_eq!(broken, None, "{clock:?}: {output}");
        assert_eq!(
            output.matches("own are fine").count(),
            places.len(),
            "{clock:?}: {output}"
        );
        for bait in &mut baits {
            assert!(bait.is_untouched(), "{clock:?} in {:?}", bait.folder);
        }
    }
}

#[test]
fn a_program_has_no_keys_and_no_sockets_past_its_network() {
    let python = needs::python();
    let script = "import ctypes, os, socket\n\
         libc = ctypes.CDLL(None, use_errno=True)\n\
         def tries(what, *numbers):\n\
         \x20   result = libc.syscall(*numbers)\n\
         \x20   print('BROKEN' if result >= 0 else 'no', what, os.strerror(ctypes.get_errno()))\n\
         tries('session keyring', 250, 0, -3, 0)\n\
         tries('user keyring', 250, 0, -4, 1)\n\
         tries('key', 248, b'user', b'halfopen-test', b'x', 1, -3)\n\
         tries('io_uring', 425, 8, ctypes.create_string_buffer(120))\n\
         for family in [40, 30, 42, 38, 31]:\n\
         \x20   tries('family %d' % family, 41, family, 1, 0)\n\
         \x20   tries('x32 family %d' % family, 0x40000000 + 41, family, 1, 0)\n\
         for family in [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX]:\n\
         \x20   socket.socket(family)\n\
         socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\n\
         print('own are fine')\n";
    let command = serde_json::to_string(&[&python, "-c", script]).expect("text");
    for clock in clocks() {
        let run = run(&beside(&command, ""), clock, &[]);
        passes(&run);
        let output = run.output();
        assert!(
            output.contains("own are fine") && !output.contains("BROKEN"),
            "{clock:?}: {output}"
        );
    }
}

#[test]
fn a_program_that_eats_memory_on_the_real_clock_is_ended_and_its_limit_named() {
    let _turn = machine::alone();
    let python = needs::python();
    // By itself, by what it starts, and by what they share; one after the other, as each needs its gigabyte.
    let alone =
        "x = [bytearray(b'x') * (64 << 20) for _ in range(20)]\nimport time\ntime.sleep(60)";
    let together = "import os, time\ntime.sleep(5)\n[os.fork() for _ in range(3)]\nx = bytearray(b'x') * (180 << 20)\ntime.sleep(60)";
    let shared = "import mmap, time\ntime.sleep(10)\nm = mmap.mmap(-1, 1200 << 20)\nm.write(b'x' * (1200 << 20))\ntime.sleep(60)";
    let scripts = [alone, together, shared];
    let command = |script: &&str| serde_json::to_string(&[&python, "-c", *script]).expect("text");
    // A gigabyte takes a busy machine some time.
    let yaml = all_beside(&scripts.each_ref().map(command));
    let run = run(
        &yaml.replace("duration: 6s", "duration: 20s"),
        Clock::Real,
        &[],
    );
    passes(&run);
    let warned = run.records[0].iter().filter(|event| {
        matches!(&event.what, Observation::Warning { text }
            if text.contains(" was ended: it had") && text.ends_with("a program may have 1024 MiB"))
    });
    assert_eq!(warned.count(), scripts.len(), "{}", run.table);
    let ended = run.records[0].iter().filter(|e| {
        let signal = Some(9);
        matches!(e.what, Observation::ProgramExited { signal: by, .. } if by == signal)
    });
    assert_eq!(ended.count(), scripts.len(), "{}", run.table);
}
