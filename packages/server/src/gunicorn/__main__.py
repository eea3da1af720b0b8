"""``python -m gunicorn``: the same as the command ``gunicorn``."""

from gunicorn.app.wsgiapp import run

if __name__ == "__main__":
    run(prog="gunicorn")
