/* All that descends from this process, which must be the subreaper of it: who forks twice or leaves the session, too. */
#ifndef TREE_H
#define TREE_H

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { PROCESSES = 32768 };
static struct process {
    pid_t pid, parent;
    bool ours;
} processes[PROCESSES];

/* The living processes of this PID namespace; returns how many. */
static size_t list_processes(void)
{
    size_t count = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc != NULL && count < PROCESSES && (entry = readdir(proc)) != NULL;) {
        char path[300], text[512];
        (void)snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        int fd = entry->d_name[0] >= '1' && entry->d_name[0] <= '9' ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        if (fd < 0)
            continue;
        ssize_t got = read(fd, text, sizeof text - 1);
        (void)close(fd);
        text[got > 0 ? got : 0] = '\0';
        const char *after = strrchr(text, ')'); /* the name before it may hold anything */
        if (after == NULL || strlen(after) < 5 || after[2] == 'Z')
            continue;
        processes[count++] = (struct process){.pid = atoi(text), .parent = atoi(after + 4)};
    }
    if (proc != NULL)
        (void)closedir(proc);
    return count;
}

/* Signals the whole tree; returns how many processes it has. */
static size_t signal_tree(int signal_number)
{
    size_t count = list_processes(), found = 0;
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < count; i++) {
            bool child = processes[i].parent == getpid();
            for (size_t k = 0; k < count && !child && !processes[i].ours; k++)
                child = processes[k].ours && processes[k].pid == processes[i].parent;
            more = more || (child && !processes[i].ours);
            processes[i].ours = processes[i].ours || child;
        }
    }
    for (size_t i = 0; i < count; i++)
        if (processes[i].ours) {
            (void)kill(processes[i].pid, signal_number);
            found++;
        }
    return found;
}

#endif
