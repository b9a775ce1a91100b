"""Real processes: an emulator, a gateway that is killed, strategies over gRPC, a disk and sockets that are real.

    python -m tests.chaos processes

`programs` starts and kills; `strategies` are the clients and write their histories; `mischief` orders the emulator's
faults, `network` breaks the gateway's connections to it, `endings` ends its lives in other ways than a kill; `machine`
measures what it uses and looks for secrets in what was written; `run` is one run, judged by the checker from the
emulator's record, the journal's file and the histories; `syscalls` kills the gateway at each system call of one
submission.
"""
