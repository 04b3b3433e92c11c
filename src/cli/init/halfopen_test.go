// Written by `halfopen init go`, for halfopen __VERSION__. After an upgrade: remove this file and write it anew.

package __PACKAGE__

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// halfopen is a test of what a client makes of a server whose node loses its power:
//
//	func TestRecovers(t *testing.T) {
//		halfopen{Within: 10 * time.Second}.run(t, func(lab halfopenLab) error {
//			client := newClient(lab.URL)
//			return lab.every(time.Second, client.Ask)
//		})
//	}
//
// The client is a program of its own: this test binary is started again in a lab, and comes through the test to the function. Of
// what the test made before it has its own copy; what it does there reaches nothing outside. Time passes in the lab at once.
//
// Environment: HALFOPEN names the program, if it is not in PATH. Where it or the virtual clock's kernel is missing, the test is
// skipped, or fails with HALFOPEN_REQUIRE=1. HALFOPEN_CLOCK=real runs in real time. HALFOPEN_RECORDS is the folder for records of
// failures, instead of the one for temporary files.
type halfopen struct {
	Within   time.Duration             // the client must have recovered so soon after the fault; 30 s if 0
	Cause    string                    // what must have ended its wait: one or more of docs/scenario.md, "Cause", with commas
	Phase    string                    // lose the power when the client is idle, request_unacknowledged or waiting_for_response
	TLS      bool                      // the built-in HTTP servers speak TLS; SSL_CERT_FILE names their authority
	Serve    func(listen string) error // the servers instead of the built-in ones: serves at HOST:PORT, and goes on
	Scenario string                    // a scenario file of your own instead of all of the above
}

// halfopenLab is what the client finds in the lab.
type halfopenLab struct {
	URL     string // of the service: http://service/, or tcp://service:8080 with Serve
	Address string // the service's IP address and port
	CA      string // file with the certificate authority
}

const (
	halfopenVersion = "__VERSION__"
	halfopenRole    = "HALFOPEN_TEST_ROLE"
	halfopenRun     = "HALFOPEN_TEST_RUN"
	// What is left of the test's time when the run is interrupted, to tell of it.
	halfopenRest = 5 * time.Second
)

// every calls a request again and again, and says how each went: a second witness. It never returns.
func (halfopenLab) every(pause time.Duration, request func() error) error {
	for {
		if err := request(); err != nil {
			fmt.Println("halfopen: error:", err)
		} else {
			fmt.Println("halfopen: ok")
		}
		time.Sleep(pause)
	}
}

// run runs client in a lab, and fails the test if that does not recover as expected. The client must go on until it is ended.
func (h halfopen) run(t *testing.T, client func(halfopenLab) error) {
	t.Helper()
	own := halfopenCount(t)
	if wanted, inside := os.LookupEnv(halfopenRun); inside {
		// Another run of the same test comes before or after this one.
		if wanted == own {
			h.inside(client)
		}
		return
	}
	program, err := halfopenProgram()
	switch {
	case err != nil && program == "":
		halfopenMissing(t, err.Error())
	case err != nil:
		t.Fatalf("halfopen: %v", err)
	}
	folder, err := halfopenFolder(t)
	if err != nil {
		t.Fatal(err)
	}
	path, err := halfopenLaunchers(folder, own, t.Name())
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if deadline, limited := t.Deadline(); limited {
		earlier, cancel := context.WithDeadline(ctx, deadline.Add(-halfopenRest))
		defer cancel()
		ctx = earlier
	}
	run, err := h.execute(ctx, t, program, folder, path, "")
	if err != nil {
		t.Fatalf("halfopen: %v", err)
	}
	if run.code == 1 && h.Scenario == "" && halfopenClock() == "virtual" {
		// In virtual time the failure can be followed to its end: the kernel's own, after a quarter of an hour.
		if longer, err := h.execute(ctx, t, program, folder, path, "duration: 1200s"); err == nil && longer.code == 1 {
			run = longer
		}
	}
	switch {
	case run.code == 0:
		t.Logf("halfopen: %s", run.told)
		os.RemoveAll(folder)
	case ctx.Err() != nil:
		t.Fatalf("halfopen: the time of this test is over (-timeout), and its run was interrupted\n%s%skept: %s", run.told, run.stderr, folder)
	case run.code == 3 && !run.begun:
		os.RemoveAll(folder)
		halfopenMissing(t, strings.TrimSpace(run.stderr))
	case run.code == 2:
		os.RemoveAll(folder)
		t.Fatalf("halfopen refuses the scenario\n%s", run.stderr)
	default:
		t.Fatalf("halfopen, exit code %d: %s%skept: %s (halfopen explain %s)", run.code, run.told, run.stderr, folder, run.record)
	}
}

// halfopenOutcome is what came of a run.
type halfopenOutcome struct {
	code         int
	begun        bool
	told, stderr string
	record       string
}

// execute runs the scenario, with one more line, to its end or that of ctx.
func (h halfopen) execute(ctx context.Context, t *testing.T, program, folder, path, duration string) (halfopenOutcome, error) {
	name := "run"
	if duration != "" {
		name = "outage"
	}
	scenario, err := h.scenario(t, filepath.Join(folder, name+".yaml"), duration)
	if err != nil {
		return halfopenOutcome{}, err
	}
	brief, record := filepath.Join(folder, name+".txt"), filepath.Join(folder, name)
	command := exec.CommandContext(ctx, program, "run", scenario, "--quiet", "--clock", halfopenClock(),
		"--report", "brief="+brief, "--report", "json="+record+".json", "--record", record)
	command.Env = append(os.Environ(), "PATH="+path)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGINT) }
	command.WaitDelay = halfopenRest / 2
	var stderr bytes.Buffer
	command.Stderr = &stderr
	var exit *exec.ExitError
	if err := command.Run(); err != nil && !errors.As(err, &exit) && ctx.Err() == nil {
		return halfopenOutcome{}, err
	}
	told, unwritten := os.ReadFile(brief)
	return halfopenOutcome{command.ProcessState.ExitCode(), unwritten == nil, string(told), stderr.String(), record}, nil
}

// inside is the client, or a server, in the lab. It ends the process, unless the test itself ends it (t.Fatal).
func (h halfopen) inside(client func(halfopenLab) error) {
	role, returned := os.Getenv(halfopenRole), false
	defer func() {
		if panicked := recover(); panicked != nil {
			fmt.Printf("halfopen: the %s panicked: %v\n%s", role, panicked, halfopenWhere(debug.Stack()))
			os.Exit(2)
		}
		if returned {
			os.Exit(1)
		}
	}()
	var err error
	switch {
	case role == "client":
		err = client(halfopenLab{URL: os.Getenv("HALFOPEN_URL"), Address: os.Getenv("HALFOPEN_ADDRESS"), CA: os.Getenv("HALFOPEN_CA")})
	case h.Serve != nil:
		err = h.Serve(os.Getenv("HALFOPEN_TEST_LISTEN"))
	default:
		err = errors.New("the test has no Serve")
	}
	returned = true
	fmt.Printf("halfopen: the %s returned (%v): it must go on until it is ended\n", role, err)
}

// halfopenWhere is the place of a panic: the lines of the stack after panic's own.
func halfopenWhere(stack []byte) string {
	lines := strings.SplitAfter(string(stack), "\n")
	for index, line := range lines {
		if strings.HasPrefix(line, "panic(") {
			return strings.Join(lines[min(index+2, len(lines)):min(index+6, len(lines))], "")
		}
	}
	return string(stack)
}

var halfopenCounts sync.Map

// halfopenCount is the name of a run: its test, and which of that test's runs it is.
func halfopenCount(t *testing.T) string {
	before, _ := halfopenCounts.LoadOrStore(t.Name(), 0)
	if before == 0 {
		// With -count a test of the same name begins anew.
		t.Cleanup(func() { halfopenCounts.Delete(t.Name()) })
	}
	number := before.(int) + 1
	halfopenCounts.Store(t.Name(), number)
	return fmt.Sprintf("%s#%d", t.Name(), number)
}

func halfopenClock() string {
	if clock := os.Getenv("HALFOPEN_CLOCK"); clock != "" {
		return clock
	}
	return "virtual"
}

// halfopenFolder is where everything of a run lies, an absolute path.
func halfopenFolder(t *testing.T) (string, error) {
	name := "halfopen-" + strings.ReplaceAll(t.Name(), "/", "-") + "-"
	records := os.Getenv("HALFOPEN_RECORDS")
	if records == "" {
		return os.MkdirTemp("", name)
	}
	records, err := filepath.Abs(records)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(records, 0o755); err != nil {
		return "", err
	}
	return os.MkdirTemp(records, name)
}

// halfopenProgram is the program, of this file's version; none with an error if there is none.
func halfopenProgram() (string, error) {
	program := os.Getenv("HALFOPEN")
	if program == "" {
		found, err := exec.LookPath("halfopen")
		if err != nil {
			return "", errors.New("there is no halfopen in PATH, and HALFOPEN names none")
		}
		program = found
	}
	said, err := exec.Command(program, "--version").Output()
	if err != nil {
		return program, fmt.Errorf("%s --version: %w", program, err)
	}
	if version := strings.TrimSpace(strings.TrimPrefix(string(said), "halfopen ")); version != halfopenVersion {
		return program, fmt.Errorf("%s is version %s, and halfopen_test.go was written for %s: remove that file and run `halfopen init go`",
			program, version, halfopenVersion)
	}
	return program, nil
}

func halfopenMissing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("HALFOPEN_REQUIRE") == "1" {
		t.Fatalf("halfopen: %s", why)
	}
	t.Skipf("halfopen: %s (HALFOPEN_REQUIRE=1 makes this a failure)", why)
}

// halfopenLaunchers writes the programs halfopen-test-client and halfopen-test-server, and is the PATH with them. What PATH names
// can be seen in the lab, in folders for temporary files as well: the test binary too.
func halfopenLaunchers(folder, run, test string) (string, error) {
	binary, err := os.Executable()
	if err != nil {
		return "", err
	}
	parts := strings.Split(test, "/")
	for index, part := range parts {
		parts[index] = "^" + regexp.QuoteMeta(part) + "$"
	}
	arguments := []string{binary, "-test.run=" + strings.Join(parts, "/"), "-test.timeout=0"}
	for index, argument := range arguments {
		arguments[index] = halfopenQuoted(argument)
	}
	for _, role := range []string{"client", "server"} {
		text := fmt.Sprintf("#!/bin/sh\nexport HALFOPEN_TEST_LISTEN=\"$1\" %s=%s %s=%s LD_LIBRARY_PATH=%s\nexec %s\n", halfopenRole, role,
			halfopenRun, halfopenQuoted(run), halfopenQuoted(os.Getenv("LD_LIBRARY_PATH")), strings.Join(arguments, " "))
		file := filepath.Join(folder, "bin", "halfopen-test-"+role)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			return "", err
		}
	}
	folders := []string{filepath.Join(folder, "bin"), os.Getenv("PATH"), filepath.Dir(binary)}
	return strings.Join(folders, string(os.PathListSeparator)), nil
}

func halfopenQuoted(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// scenario is the scenario's file: one's own, or one that is written.
func (h halfopen) scenario(t *testing.T, file, duration string) (string, error) {
	if h.Scenario != "" {
		return h.Scenario, nil
	}
	server, port, url := "app: echo", "80", "http://service/"
	switch {
	case h.Serve != nil && h.TLS:
		return "", errors.New("TLS is for the built-in servers; with Serve it is the servers' own affair")
	case h.Serve != nil:
		server = `port: 8080, exec: { command: [halfopen-test-server, "{self}:{port}"], memory: 512MiB }`
		port, url = "8080", "tcp://service:8080"
	case h.TLS:
		server, port, url = "app: echo, tls: true", "443", "https://service/"
	}
	when := "at: 10s"
	if h.Phase != "" {
		when = fmt.Sprintf("when: { client: test, phase: %s, after: 10s }", h.Phase)
	}
	within := h.Within
	if within == 0 {
		within = 30 * time.Second
	}
	cause := ""
	if h.Cause != "" {
		cause = fmt.Sprintf(", cause: [%s]", h.Cause)
	}
	text := strings.NewReplacer("NAME", fmt.Sprintf("%q", t.Name()), "SERVER", server, "PORT", port, "URL", url, "WHEN", when,
		"WITHIN", fmt.Sprintf("%dms", within.Milliseconds()), "CAUSE", cause, "DURATION", duration).Replace(halfopenScenario)
	return file, os.WriteFile(file, []byte(text), 0o644)
}

const halfopenScenario = `__SCENARIO__`
