//! The lab process: reads a job, runs its labs side by side on one thread, and says what it observes.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use tokio::task::LocalSet;

use crate::clock::{FromLab, LabJob};
use crate::record::{Observation, Recorder, monotonic};

/// Events gathered before they are written, in bytes, where a job asks for that.
const GATHERED: usize = 64 << 10;

/// Jiffies after which the kernel's timer wheel stands as before, for timers of up to 129 s at HZ=250: the width of its
/// buckets for the next longer ones.
///
/// A timer of 120 s fires when the bucket ends that it fell into, 2 s wide at HZ=250. So the same outage would take
/// longer or shorter by that much, depending on when the case began.
const TIMER_PERIOD: u32 = 4096;

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

/// Runs every lab of `job` to its end, and writes what they observe to `out`.
#[must_use]
pub fn run(job: LabJob, out: Box<dyn Write>) -> ExitCode {
    // Where a program may make time stand still for ever, what was seen until then must be out.
    let programs = job
        .labs
        .iter()
        .flat_map(|plan| &plan.clients)
        .any(|client| client.program().is_some());
    let gather = job.gather_events && !programs;
    let out = Rc::new(RefCell::new(Outlet {
        out,
        pending: Vec::new(),
        gather,
    }));
    if job.align_start {
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
    let hz = crate::clock::machine::hz();
    out.borrow_mut().say(&FromLab::Kernel {
        release: release(),
        hz,
    });
    let align = hz.filter(|_| job.align_start).map(timer_period);
    out.borrow_mut().flush();
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let labs = job.labs.into_iter().enumerate().map(|(lab, plan)| {
            let (out, frames_out) = (Rc::clone(&out), Rc::clone(&out));
            let recorder = Recorder::new(move |event| {
                let last = matches!(event.what, Observation::CaseEnded {});
                let mut out = out.borrow_mut();
                out.say(&FromLab::Event { lab, event });
                if last {
                    out.flush();
                }
            });
            recorder.keep_frames(move |frames| {
                frames_out
                    .borrow_mut()
                    .say(&FromLab::Frames { lab, frames });
            });
            tokio::task::spawn_local(async move {
                // One after the other, so that they don't meet in their set-up, nor later in lock-step.
                if let (Some(period), Ok(place)) = (align, u32::try_from(lab)) {
                    tokio::time::sleep((period * place).saturating_sub(monotonic())).await;
                }
                super::run(plan, recorder, align).await;
            })
        });
        let labs = futures_util::future::join_all(labs.collect::<Vec<_>>());
        tokio::select! {
            _ = labs => {}
            () = say_alive(&out), if job.gather_events => {}
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
