"""The life of a worker process between the fork and its exit status: the arbiter's ``spawn_worker`` runs this in the
child.
"""

import os
import sys
import traceback
from typing import Any

from gunicorn.errors import AppImportError, ConfigError
from gunicorn.supervision import orphan, proctitle

RUN_FAILED = 255


def run_worker(arbiter: Any, worker: Any) -> int:
    """Run a worker to its end; returns the exit status. SystemExit passes, with its own."""
    worker.bell_fd = arbiter.bell()
    arbiter.enter_child()
    worker.pid = worker.scoreboard.pid = os.getpid()
    log = arbiter.log
    proctitle.set_title(f"worker [{arbiter.proc_name}]")
    if worker.parent_fd >= 0:
        orphan.arm(worker.parent_fd)
    try:
        log.info("Booting worker with pid: %s", worker.pid)
        arbiter.cfg.post_fork(arbiter, worker)
        worker.init_process()
    except SystemExit:
        raise
    except (AppImportError, ConfigError) as exc:
        log.debug("The application cannot be loaded\n%s", traceback.format_exc())
        print(f"\n{exc}\n", file=sys.stderr, flush=True)
        return int(arbiter.APP_LOAD_ERROR)
    except Exception:
        log.exception("Exception in worker process")
        return RUN_FAILED if worker.booted else int(arbiter.WORKER_BOOT_ERROR)
    finally:
        log.info("Worker exiting (pid: %s)", worker.pid)
        try:
            worker.cfg.worker_exit(arbiter, worker)
        except Exception:
            log.exception("Exception in the hook worker_exit")
    return 0
