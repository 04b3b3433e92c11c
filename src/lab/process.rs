//! The lab process: reads a job, runs its lab on one thread, and says what it observes.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use tokio::task::LocalSet;

use super::job::{FromLab, LabJob};
use super::lateness;
use crate::record::{ClockName, Observation, Recorder, monotonic};

/// Events gathered before they are written, in bytes, on the virtual clock: writing is dear there, and nobody looks.
const GATHERED: usize = 64 << 10;

/// Jiffies after which the kernel's timer wheel stands as before, for timers of up to 129 s at HZ=250: the width of its
/// buckets for the next longer ones.
///
/// A timer of 120 s fires when the bucket ends that it fell into, 2 s wide at HZ=250. So the same outage would take
/// longer or shorter by that much, depending on when the case began.
pub(crate) const TIMER_PERIOD: u32 = 4096;

/// How often a lab process says that time goes on, by its own clock.
const ALIVE_EVERY: Duration = Duration::from_secs(10);

/// Runs the job on standard input, and writes to standard output. Call as the first process of a lab's namespaces.
#[must_use]
pub fn main() -> ExitCode {
    let mut text = String::new();
    let job = io::stdin()
        .read_to_string(&mut text)
        .map_err(|e| e.to_string());
    let job = job.and_then(|_| serde_json::from_str::<LabJob>(&text).map_err(|e| e.to_string()));
    match job {
        Ok(job) => run(job, Box::new(io::stdout())),
        Err(error) => {
            eprintln!("failed to read the lab's job: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the lab of `job` to its end, and writes what it observes to `out`.
///
/// On the virtual clock, where waiting costs nothing, a case begins when the kernel's timers stand as at every other case's
/// begin, however long its set-up took; or so much later as the job says.
#[must_use]
pub fn run(job: LabJob, out: Box<dyn Write>) -> ExitCode {
    let LabJob {
        lab,
        clock,
        later_ticks,
        ..
    } = job;
    let in_guest = clock == ClockName::Virtual;
    // Where a program may make time stand still for ever, what was seen until then must be out.
    let programs = lab.programs().next().is_some();
    let out = Rc::new(RefCell::new(Outlet {
        out,
        pending: Vec::new(),
        gather: in_guest && !programs,
    }));
    if in_guest {
        wait_for_full_second();
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("failed to start the lab's runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let hz = crate::linux::kernel::hz();
    out.borrow_mut().say(&FromLab::Kernel {
        release: release(),
        hz,
    });
    let align = hz.filter(|_| in_guest).map(|hz| Align {
        period: timer_period(hz),
        later: Duration::from_secs(later_ticks.into()) / hz,
    });
    out.borrow_mut().flush();
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let (events_out, frames_out) = (Rc::clone(&out), Rc::clone(&out));
        let recorder = Recorder::new(move |event| {
            let last = matches!(event.what, Observation::CaseEnded {});
            let mut out = events_out.borrow_mut();
            out.say(&FromLab::Event(event));
            if last {
                out.flush();
            }
        });
        recorder.keep_frames(move |frames| frames_out.borrow_mut().say(&FromLab::Frames(frames)));
        tokio::select! {
            () = super::run(lab, recorder, align) => {}
            () = say_alive(&out), if in_guest => {}
            () = lateness::tell_when_busy(|| out.borrow_mut().say(&FromLab::Busy {})), if !in_guest => {}
        }
    });
    out.borrow_mut().flush();
    ExitCode::SUCCESS
}

/// Waits for a full second of the kernel's clock. A runtime that is built then wakes on the grid of full milliseconds,
/// just after the kernel's ticks: not by chance before one and after the next.
fn wait_for_full_second() {
    let next = Duration::from_secs(monotonic().as_secs() + 1);
    // Interrupted, it is early: a nearly aligned case is as right as any.
    let _ = clock_nanosleep(
        ClockId::CLOCK_MONOTONIC,
        ClockNanosleepFlags::TIMER_ABSTIME,
        &next.into(),
    );
}

/// When a case begins, by the kernel's clock.
#[derive(Debug, Clone, Copy)]
pub struct Align {
    /// At a whole multiple of this,
    pub period: Duration,
    /// and so much later.
    pub later: Duration,
}

/// [`TIMER_PERIOD`] at a timer frequency.
fn timer_period(hz: u32) -> Duration {
    Duration::from_secs(TIMER_PERIOD.into()) / hz
}

/// Says that time goes on, for a parent that can't see it.
async fn say_alive(out: &RefCell<Outlet>) {
    loop {
        tokio::time::sleep(ALIVE_EVERY).await;
        let mut out = out.borrow_mut();
        out.say(&FromLab::Alive {});
        out.flush();
    }
}

/// `uname -r`.
fn release() -> String {
    nix::sys::utsname::uname()
        .map(|u| u.release().to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// The way out of the lab process.
struct Outlet {
    out: Box<dyn Write>,
    pending: Vec<u8>,
    gather: bool,
}

impl Outlet {
    fn say(&mut self, message: &FromLab) {
        self.pending.extend_from_slice(&message.to_line());
        if !self.gather || self.pending.len() >= GATHERED {
            self.flush();
        }
    }

    /// Nobody to tell means nobody to work for: the lab ends, and the kernel clears it away.
    fn flush(&mut self) {
        let written = self
            .out
            .write_all(&self.pending)
            .and_then(|()| self.out.flush());
        if written.is_err() {
            std::process::exit(1);
        }
        self.pending.clear();
    }
}
