/* The agent: its start without any rights, its three streams, and its end with all that it started. */
#ifndef AGENT_H
#define AGENT_H

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "journal.h"
#include "tree.h"

enum {
    STRINGS = 4096,         /* arguments, and variables */
    INPUT_BOUND = 64 << 20, /* of input that the agent has not read */
    RETRY_MS = 100,         /* between attempts to write to a full disk */
    SWEEP_MS = 20,          /* between rounds of killing */
    GIVE_UP_MS = 10000      /* for what SIGKILL does not end */
};

static struct journal out = {.letter = 'o', .type = OUTPUT, .detail = STDOUT, .bound = 64 << 20, .fd = -1, .read_fd = -1};
static struct journal err = {.letter = 'e', .type = OUTPUT, .detail = STDERR, .bound = 4 << 20, .fd = -1, .read_fd = -1};
static struct journal in = {.letter = 'i', .type = INPUT, .bound = INPUT_BOUND, .fd = -1, .read_fd = -1};
static unsigned char pending[HEADER + CHUNK]; /* what the agent wrote to stdout and is not in the journal yet */
static size_t pending_bytes;
static char *arguments[STRINGS + 1], *variables[STRINGS + 1], *working = (char[]){"/"};
static uint64_t uid, gid, open_files = 16384, grace_ms = 2000;
static pid_t agent;
static int agent_in = -1, agent_out = -1, agent_err = -1;
static bool gone, input_ends; /* nothing of the agent is left; its input shall be closed */
static bool spoilt;           /* its input was closed before what is damaged, and no client has heard of it */
static int64_t kill_at, sweep_at, retry_at;

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* stands still while the machine sleeps */
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool passing(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

/* ---- start */

__attribute__((noreturn)) static void cannot(int report, const char *what)
{
    (void)dprintf(report, "cannot %s: %s", what, strerror(errno));
    _exit(127);
}

/* Gives up every right, and makes sure: a holder that is no root has none to give, but for those to come. */
static void give_up_rights(int report)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}}, held[2];
    bool root = geteuid() == 0;
    for (unsigned long capability = 0; root && prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0)
            cannot(report, "empty the bounding set of the agent");
    if (root && (setgroups(0, NULL) != 0 || setresgid((gid_t)gid, (gid_t)gid, (gid_t)gid) != 0 ||
                 setresuid((uid_t)uid, (uid_t)uid, (uid_t)uid) != 0))
        cannot(report, "become the agent's user");
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &header, none) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        cannot(report, "give up the rights of the agent");
    bool kept = syscall(SYS_capget, &header, held) != 0 || memcmp(held, none, sizeof none) != 0;
    errno = EPERM;
    if (kept || getuid() != uid || geteuid() != uid || (root && (getegid() != gid || setuid(0) == 0)))
        cannot(report, "be sure that the agent has no rights");
}

static void limit(int report, int resource, rlim_t most)
{
    struct rlimit value;
    if (getrlimit(resource, &value) == 0 && value.rlim_max < most)
        most = value.rlim_max; /* that of the container is lower already */
    value.rlim_cur = value.rlim_max = most;
    if (setrlimit(resource, &value) != 0)
        cannot(report, "set the limits of the agent");
}

/* Who started us may have had signals ignored: a shell its background jobs', a runtime its own. The C library would not
   let its own be touched, and what is ignored stays so across an exec. */
static void usual_signals(void)
{
    const unsigned long usual[4] = {0}; /* the kernel's struct sigaction: the default, no flags, an empty mask */
    for (int number = 1; number <= 64; number++)
        (void)syscall(SYS_rt_sigaction, number, usual, NULL, sizeof usual[0]);
}

__attribute__((noreturn)) static void become_agent(int input, int output, int errors, int report)
{
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    usual_signals();
    (void)setsid();
    limit(report, RLIMIT_CORE, 0);
    limit(report, RLIMIT_NOFILE, open_files);
    give_up_rights(report);
    if (dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(errors, 2) < 0)
        cannot(report, "give the agent its streams"); /* every other descriptor closes itself */
    (void)umask(022);
    if (chdir(working) != 0)
        cannot(report, "enter the agent's folder");
    environ = variables;
    (void)execvp(arguments[0], arguments);
    cannot(report, "execute the agent");
}

/* Starts the agent; what went wrong is left in `why`, which is empty when all went well. */
static void start_agent(char *why, size_t room)
{
    int input[2], output[2], errors[2], report[2];
    if (pipe2(input, O_CLOEXEC) != 0 || pipe2(output, O_CLOEXEC) != 0 || pipe2(errors, O_CLOEXEC) != 0 ||
        pipe2(report, O_CLOEXEC) != 0 || (agent = fork()) < 0) {
        (void)snprintf(why, room, "cannot make the agent's process: %s", strerror(errno));
        return;
    }
    if (agent == 0)
        become_agent(input[0], output[1], errors[1], report[1]);
    (void)close(input[0]);
    (void)close(output[1]);
    (void)close(errors[1]);
    (void)close(report[1]);
    ssize_t count = read(report[0], why, room - 1);
    why[count > 0 ? count : 0] = '\0';
    (void)close(report[0]);
    agent_in = input[1];
    agent_out = output[0];
    agent_err = errors[0];
    for (size_t i = 0; i < 3; i++)
        (void)fcntl((int[]){agent_in, agent_out, agent_err}[i], F_SETFL, O_NONBLOCK);
    put(F_PID, (uint64_t)agent);
    put(F_PHASE, RUNNING);
}

/* ---- streams */

static void read_out(void)
{
    if (pending_bytes == 0 && agent_out >= 0) {
        ssize_t count = read(agent_out, pending + HEADER, CHUNK);
        if (count > 0)
            pending_bytes = frame(pending, OUTPUT, STDOUT, out.end, NULL, (size_t)count);
        else if (count == 0 || gone || !passing(errno)) /* nothing comes from who is gone, whoever holds the pipe */
            close_fd(&agent_out);
    }
    if (pending_bytes > 0 && append(&out, pending, pending_bytes))
        pending_bytes = 0;
    put(F_OUT_END, out.end);
    retry_at = now_ms() + RETRY_MS;
}

/* Gives up what never found room in the journal: it is told as a gap. */
static void lose_rest(void)
{
    uint64_t lost = pending_bytes - HEADER;
    for (ssize_t count; (count = read(agent_out, pending, CHUNK)) > 0;)
        lost += (uint64_t)count;
    close_fd(&agent_out);
    close_fd(&out.fd); /* no file holds a hole */
    pending_bytes = 0;
    out.end += lost;
    put(F_OUT_END, out.end);
}

static void read_err(void)
{
    static unsigned char record[HEADER + CHUNK];
    ssize_t count = read(agent_err, record + HEADER, CHUNK);
    if (count == 0 || (count < 0 && (gone || !passing(errno))))
        close_fd(&agent_err);
    if (count <= 0)
        return;
    size_t size = frame(record, OUTPUT, STDERR, err.end, NULL, (size_t)count);
    bool kept = append(&err, record, size);
    while (err.count > 1 && (!kept || err.bytes > err.bound)) {
        uint64_t first = get(F_ERR_FIRST), next = err.segments[1].start, start = err.segments[0].start;
        uint64_t from = first > start ? first : start, stop = start + err.segments[0].held;
        put(F_ERR_DROPPED, get(F_ERR_DROPPED) + (stop > from ? stop - from : 0));
        put(F_ERR_FIRST, next > first ? next : first);
        drop_oldest(&err);
        kept = kept || append(&err, record, size);
    }
    if (!kept) {
        err.end += (size_t)count;
        put(F_ERR_DROPPED, get(F_ERR_DROPPED) + (uint64_t)count);
        close_fd(&err.fd); /* no file holds a hole: what is deleted later is counted by what is in it */
    }
    put(F_ERR_END, err.end);
}

/* Goes to the first byte of the next record of input; false when that is not there as it was written. */
static bool begin_input(unsigned char *bytes)
{
    bool whole = pread(in.read_fd, bytes, HEADER, in.position) == HEADER && bytes[0] == INPUT && offset_of(bytes) == in.at;
    size_t length = whole ? size_of(bytes) - HEADER : 0;
    uint32_t sum = check(0, bytes, 16), wanted = (uint32_t)number(bytes + 16, 4);
    off_t at = in.position += HEADER;
    for (size_t rest = length <= INPUT_MAX ? length : 0; rest > 0;) {
        ssize_t count = pread(in.read_fd, bytes, rest < CHUNK ? rest : CHUNK, at);
        if (count <= 0)
            return false;
        sum = check(sum, bytes, (size_t)count);
        at += count;
        rest -= (size_t)count;
    }
    in.left = length;
    return whole && length <= INPUT_MAX && sum == wanted;
}

/* Gives the agent what was accepted, as far as it reads. Behind damage nothing is given: it would be something else. */
static void deliver(void)
{
    static unsigned char bytes[CHUNK];
    while (agent_in >= 0 && in.at < in.end) {
        (void)seek(&in);
        spoilt = in.left == 0 && !begin_input(bytes);
        ssize_t count = spoilt ? 0 : pread(in.read_fd, bytes, in.left < CHUNK ? in.left : CHUNK, in.position);
        spoilt = count <= 0;
        count = count > 0 ? write(agent_in, bytes, (size_t)count) : 0;
        if (count == 0 || (count < 0 && !passing(errno)))
            close_fd(&agent_in); /* nobody reads, or the journal was damaged: half a line must not be followed */
        if (count <= 0)
            break;
        in.position += count;
        in.left -= (size_t)count;
        in.at += (size_t)count;
        put(F_DRAINED, in.at);
    }
    in.done = in.at;
    trim(&in);
    if (input_ends && in.at == in.end)
        close_fd(&agent_in);
}

/* ---- end */

static void end_agent(uint64_t cause, uint64_t grace)
{
    int64_t at = now_ms() + (int64_t)grace;
    if (get(F_PHASE) == RUNNING) {
        put(F_PHASE, ENDING);
        put(F_CAUSE, cause);
        kill_at = at;
        (void)signal_tree(SIGTERM);
    }
    kill_at = at < kill_at ? at : kill_at;
    sweep_at = kill_at;
}

static void reap(void)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid != agent)
            continue;
        put(F_HOW, WIFEXITED(status) ? EXITED : SIGNALLED);
        put(F_CODE, (uint64_t)(WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status)));
        if (get(F_PHASE) == RUNNING)
            end_agent(BY_ITSELF, grace_ms);
    }
    gone = gone || (pid < 0 && errno == ECHILD); /* whose parent dies becomes a child of this process */
}

static void sweep(void)
{
    size_t left = signal_tree(SIGKILL);
    reap();
    sweep_at = now_ms() + SWEEP_MS;
    if (!gone && now_ms() > kill_at + GIVE_UP_MS) {
        put(F_LEFT, left);
        gone = true;
    }
}

#endif
