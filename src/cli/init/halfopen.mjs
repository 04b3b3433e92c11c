// Written by `halfopen init node`, for halfopen __VERSION__. After an upgrade: remove this file and write it anew.
//
// A test of what a client makes of a server whose node loses its power:
//
//     import test from 'node:test';
//     import { halfopen } from './halfopen.mjs';
//
//     test('recovers', (t) => halfopen(t, { within: 10_000 }, async (lab) => {
//       const client = new Client(lab.url);
//       await lab.every(1000, () => client.ask());
//     }));
//
// The client is a program of its own: Node runs the test's file again in a lab, and comes through the test to the function. Of what
// the test made before it has its own copy; what it does there reaches nothing outside. Time passes in the lab at once.
//
// Environment: HALFOPEN names the program, if it is not in PATH. Where it or the virtual clock's kernel is missing, the test is
// skipped, or fails with HALFOPEN_REQUIRE=1. HALFOPEN_CLOCK=real runs in real time. HALFOPEN_RECORDS is the folder for records of
// failures, instead of the one for temporary files.

import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, delimiter, dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const VERSION = '__VERSION__';
const { env } = process;
const runs = new Map();

/**
 * Runs `client(lab)` in a lab, and rejects if it does not recover as expected. It must go on until it is ended.
 *
 * within    the client must have recovered so many milliseconds after the fault
 * cause     what must have ended its wait: one or more of docs/scenario.md, "Cause", with commas
 * phase     lose the power when the client is idle, request_unacknowledged or waiting_for_response
 * tls       the built-in HTTP servers speak TLS; NODE_EXTRA_CA_CERTS names their authority
 * serve     the servers instead of the built-in ones: `serve(host, port)`, which goes on
 * scenario  a scenario file of your own instead of all of the above
 */
export async function halfopen(t, options, client) {
  const test = t.fullName ?? t.name;
  const number = (runs.get(test) ?? 0) + 1;
  runs.set(test, number);
  const run = `${test}#${number}`;
  if (env.HALFOPEN_TEST_RUN !== undefined) {
    // Another run of the same test comes before or after this one.
    if (env.HALFOPEN_TEST_RUN === run) await inside(options, client);
    return;
  }
  const program = find();
  if (program === undefined) return missing(t, 'there is no halfopen in PATH, and HALFOPEN names none');
  const records = resolve(env.HALFOPEN_RECORDS || tmpdir());
  mkdirSync(records, { recursive: true });
  const folder = mkdtempSync(join(records, `halfopen-${test.replace(/\W+/g, '-')}-`));
  const clock = env.HALFOPEN_CLOCK || 'virtual';
  const path = launchers(folder, t, run);
  const attempt = (name, duration) => {
    const record = join(folder, name);
    const scenario = options.scenario ?? `${record}.yaml`;
    if (options.scenario === undefined) writeFileSync(scenario, written(test, duration, options));
    return execute(t, program, scenario, clock, record, path);
  };
  let outcome = await attempt('run', '');
  if (outcome.code === 1 && options.scenario === undefined && clock === 'virtual') {
    // In virtual time the failure can be followed to its end: the kernel's own, after a quarter of an hour.
    const longer = await attempt('outage', 'duration: 1200s');
    if (longer.code === 1) outcome = longer;
  }
  const { code, told, stderr, record } = outcome;
  if (code === 0) {
    for (const line of told.trimEnd().split('\n')) t.diagnostic(line);
    rmSync(folder, { recursive: true, force: true });
  } else if (code === 3 && told === undefined) {
    rmSync(folder, { recursive: true, force: true });
    missing(t, stderr.trim());
  } else if (code === 2) {
    rmSync(folder, { recursive: true, force: true });
    throw failure(`halfopen refuses the scenario\n${stderr}`);
  } else {
    throw failure(`halfopen, exit code ${code}: ${told ?? ''}${stderr}kept: ${folder} (halfopen explain ${record})`);
  }
}

/** The client, or a server, in the lab. It ends the process. */
async function inside(options, client) {
  const role = env.HALFOPEN_TEST_ROLE;
  const lab = {
    url: env.HALFOPEN_URL, // of the service: http://service/, or tcp://service:8080 with `serve`
    address: env.HALFOPEN_ADDRESS, // the service's IP address and port
    ca: env.HALFOPEN_CA, // file with the certificate authority
    every,
  };
  // The test runner would keep them for its own report.
  process.on('uncaughtException', ended);
  process.on('unhandledRejection', ended);
  try {
    if (role === 'client') await client(lab);
    else if (options.serve) await options.serve(env.HALFOPEN_TEST_HOST, Number(env.HALFOPEN_TEST_PORT));
    else throw new Error('the test has no serve');
    // A server that listens returns at once.
    if (role === 'server') return await new Promise(() => setInterval(() => {}, 1 << 30));
    console.log(`halfopen: the ${role} returned: it must go on until it is ended`);
  } catch (error) {
    ended(error);
  }
  process.exit(1);

  function ended(error) {
    // A stack's first lines: the error, and where it was thrown.
    console.log(`halfopen: the ${role} threw ${String(error?.stack ?? error).split('\n').slice(0, 5).join('\n')}`);
    process.exit(1);
  }
}

/** Calls a request again and again, and says how each went: a second witness. It never returns. */
async function every(pause, request) {
  for (;;) {
    try {
      await request();
      console.log('halfopen: ok');
    } catch (error) {
      console.log(`halfopen: error: ${error?.message ?? error}`);
    }
    await sleep(pause);
  }
}

/** An error whose stack says nothing: it is of this file. */
function failure(text) {
  const error = new Error(text);
  error.stack = text;
  return error;
}

function find() {
  const folders = (env.PATH ?? '').split(delimiter);
  const program = env.HALFOPEN || folders.map((folder) => join(folder, 'halfopen')).find(existsSync);
  if (program === undefined) return undefined;
  const said = spawnSync(program, ['--version'], { encoding: 'utf8' });
  if (said.status !== 0) throw failure(`halfopen: ${program} --version: ${said.error?.message ?? said.stderr}`);
  const version = said.stdout.replace('halfopen ', '').trim();
  if (version !== VERSION) {
    const own = basename(fileURLToPath(import.meta.url));
    const mend = `${own} was written for ${VERSION}: remove that file and run \`halfopen init node\``;
    throw failure(`halfopen: ${program} is version ${version}, and ${mend}`);
  }
  return program;
}

function missing(t, why) {
  if (env.HALFOPEN_REQUIRE === '1') throw failure(`halfopen: ${why}`);
  t.skip(`halfopen: ${why} (HALFOPEN_REQUIRE=1 makes this a failure)`);
}

/** Runs halfopen to its end; interrupts it when the test's time is over, or this process ends. */
async function execute(t, program, scenario, clock, record, path) {
  const brief = `${record}.txt`;
  const args = ['run', scenario, '--quiet', '--clock', clock, '--record', record];
  const reports = ['--report', `brief=${brief}`, '--report', `json=${record}.json`];
  const child = spawn(program, [...args, ...reports], { env: { ...env, PATH: path }, stdio: ['ignore', 'ignore', 'pipe'] });
  const end = () => child.kill('SIGINT');
  process.on('exit', end);
  t.signal.addEventListener('abort', end);
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
  try {
    const code = await new Promise((done, failed) => child.on('close', done).on('error', failed));
    return { code, told: existsSync(brief) ? readFileSync(brief, 'utf8') : undefined, stderr, record };
  } finally {
    process.off('exit', end);
    t.signal.removeEventListener('abort', end);
  }
}

/**
 * Writes the programs halfopen-test-client and halfopen-test-server, and returns the PATH with them. What PATH names can be seen in
 * the lab, in folders for temporary files as well: Node itself, and the test's file.
 */
function launchers(folder, t, run) {
  const file = t.filePath ?? resolve(process.argv[1]);
  const pattern = `^${t.name.replace(/[/\\^$.*+?()[\]{}|-]/g, '\\$&')}$`;
  const own = process.execArgv.filter((argument) => !argument.startsWith('--test'));
  const command = [process.execPath, ...own, `--test-name-pattern=${pattern}`, file].map(quoted).join(' ');
  mkdirSync(join(folder, 'bin'));
  for (const role of ['client', 'server']) {
    const exports = `HALFOPEN_TEST_HOST="$1" HALFOPEN_TEST_PORT="$2" HALFOPEN_TEST_ROLE=${role} HALFOPEN_TEST_RUN=${quoted(run)}`;
    const text = `#!/bin/sh\nexport ${exports} NODE_PATH=${quoted(env.NODE_PATH ?? '')}\nexec ${command}\n`;
    writeFileSync(join(folder, 'bin', `halfopen-test-${role}`), text, { mode: 0o755 });
  }
  return [join(folder, 'bin'), env.PATH, dirname(process.execPath), process.cwd(), dirname(file)].join(delimiter);
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function written(test, duration, { within = 30_000, cause, phase, tls, serve }) {
  if (serve && tls) throw failure('halfopen: tls is for the built-in servers; with serve it is the servers\' own affair');
  let [server, port, url] = ['app: echo', '80', 'http://service/'];
  if (serve) {
    server = 'port: 8080, exec: { command: [halfopen-test-server, "{self}", "{port}"], memory: 512MiB }';
    [port, url] = ['8080', 'tcp://service:8080'];
  } else if (tls) {
    [server, port, url] = ['app: echo, tls: true', '443', 'https://service/'];
  }
  const values = {
    NAME: JSON.stringify(test),
    SERVER: server,
    PORT: port,
    URL: url,
    WHEN: phase ? `when: { client: test, phase: ${phase}, after: 10s }` : 'at: 10s',
    WITHIN: `${Math.round(within)}ms`,
    CAUSE: cause ? `, cause: [${cause}]` : '',
    DURATION: duration,
  };
  return SCENARIO.replace(new RegExp(Object.keys(values).join('|'), 'g'), (token) => values[token]);
}

const SCENARIO = `\
__SCENARIO__`;
