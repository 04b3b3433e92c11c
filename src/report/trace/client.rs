//! A client's tracks: its outage in its parts, its requests, its connections.

use std::time::Duration;

use serde_json::json;

use super::event::Tracks;
use crate::plan::Cause;
use crate::result::{
    ClientHistory, ClientResult, ConnectionHistory, ConnectionResult, RequestOutcome, RequestSpan,
    word,
};
use crate::verdict::CaseResult;

/// Adds the tracks of a client.
pub(super) fn write(
    tracks: &mut Tracks,
    case: &CaseResult,
    client: &ClientResult,
    told: Option<&ClientHistory>,
) {
    outage(tracks, case, client);
    requests(tracks, client, told);
    for connection in &client.connections {
        let mut seen = told.into_iter().flat_map(|told| &told.connections);
        let seen = seen.find(|seen| seen.id == connection.id);
        of_connection(tracks, case, client, connection, seen);
    }
}

fn outage(tracks: &mut Tracks, case: &CaseResult, client: &ClientResult) {
    let track = tracks.track(&client.name);
    if let Some(at) = client.gone_at {
        tracks.instant(track, "gone", at, json!({}));
        return;
    }
    let Some(fault) = client.fault_at else { return };
    if client.unexplained.is_some() {
        let end = client
            .recovered_after
            .map_or(case.duration, |after| fault + after);
        tracks.slice(
            track,
            "outage",
            fault,
            end,
            json!({
                "cause": client.cause.as_ref().map(word),
                "evidence": client.evidence,
                "recovered": client.recovered_after.is_some(),
                "requests_failed": client.requests_failed,
            }),
        );
        for part in &client.parts {
            let ends = json!({ "begins_with": part.begins_with, "ends_with": part.ends_with });
            tracks.slice(track, part.kind.name(), part.from, part.to.min(end), ends);
        }
    }
    if let Some(after) = client.detected_after {
        let cause = client.cause.as_ref().map(word).unwrap_or_default();
        let name = format!("detection: {cause}");
        tracks.instant(
            track,
            &name,
            fault + after,
            json!({ "evidence": client.evidence }),
        );
    }
    if let Some(after) = client
        .recovered_after
        .filter(|_| client.unexplained.is_some())
    {
        tracks.instant(track, "recovery", fault + after, json!({}));
    }
}

/// Requests on as few tracks as they need, so that none overlap.
fn requests(tracks: &mut Tracks, client: &ClientResult, told: Option<&ClientHistory>) {
    // Each track, and when the last request on it is over.
    let mut rows: Vec<(u32, Duration)> = Vec::new();
    for request in told.into_iter().flat_map(|told| &told.requests) {
        let free = rows.iter().position(|(_, until)| *until <= request.from);
        let row = free.unwrap_or_else(|| {
            let name = match rows.len() {
                0 => format!("{}: requests", client.name),
                more => format!("{}: requests ({})", client.name, more + 1),
            };
            rows.push((tracks.track(&name), Duration::ZERO));
            rows.len() - 1
        });
        rows[row].1 = request.until;
        let name = match request.outcome {
            RequestOutcome::Well => format!("request {}", request.number),
            RequestOutcome::Failed => format!("request {} fails", request.number),
            RequestOutcome::Waits => format!("request {} still waits", request.number),
        };
        let RequestSpan {
            from,
            until,
            connection,
            ..
        } = *request;
        tracks.slice(
            rows[row].0,
            &name,
            from,
            until,
            json!({ "connection": connection }),
        );
    }
}

fn of_connection(
    tracks: &mut Tracks,
    case: &CaseResult,
    client: &ClientResult,
    connection: &ConnectionResult,
    seen: Option<&ConnectionHistory>,
) {
    let Some(from) = connection.dialled_at.or(connection.opened_at) else {
        return;
    };
    let id = connection.id;
    let to = connection.led_to();
    let name = format!("{}: connection {id}", client.name);
    let track = tracks.track(&name);
    let until = connection.closed_at.unwrap_or(case.duration).max(from);
    let ended = match connection.cause {
        Cause::Never => String::from("never given up"),
        cause => format!("ended {}", cause.by()),
    };
    let name = match connection.opened_at {
        Some(_) => format!("connection {id} to {to}, {ended}"),
        None => format!("dial {id} to {to} in vain, {ended}"),
    };
    tracks.slice(
        track,
        &name,
        from,
        until,
        json!({
            "cause": word(&connection.cause),
            "evidence": connection.evidence,
            "endpoint": connection.endpoint,
            "protocol": connection.protocol,
        }),
    );
    if let (Some(dialled), Some(opened)) = (connection.dialled_at, connection.opened_at) {
        tracks.slice(track, "dial", dialled, opened.min(until), json!({}));
    }
    for (again, at) in seen
        .into_iter()
        .flat_map(|seen| (1..).zip(&seen.sent_again))
    {
        tracks.instant(track, &format!("sent again, time {again}"), *at, json!({}));
    }
    for step in &connection.chain {
        tracks.instant(track, &step.text, step.at, json!({ "step": step.kind }));
    }
}
