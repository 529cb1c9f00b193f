# Runs a handler as AWS does: reads what is to be done from standard input, writes the result to descriptor 3. It works with Python 3.6 and newer.
import importlib
import json
import os
import sys
import traceback
import types


def load(job):
    here = os.path.dirname(os.path.abspath(__file__))
    files = os.path.join(here, "files")
    sys.path[0] = files
    handler = job["handler"].replace("/", ".")
    name, _, function = handler.rpartition(".")
    # Where a Script stands beside an Attachment and the handler names a file of the attachment, the script is a placeholder in AWS's own documents.
    if job["script"] and not (name and os.path.exists(os.path.join(files, *name.split(".")) + ".py")):
        path = os.path.join(here, "script.py")
        with open(path, "rb") as f:
            code = compile(f.read(), path, "exec")
        module = types.ModuleType("script")
        module.__file__ = path
        sys.modules["script"] = module
        exec(code, module.__dict__)
        return module, function
    if not name:
        tops = [n[:-3] for n in sorted(os.listdir(files)) if n.endswith(".py")]
        if len(tops) != 1:
            raise LookupError("Handler must say in which file its function is: file.function")
        name = tops[0]
    return importlib.import_module(name), function


def run(job):
    module, name = load(job)
    function = getattr(module, name, None)
    if function is None:
        raise LookupError("Handler: there is no function %s" % name)
    value = function(job["events"], job["context"])
    return json.dumps(value, allow_nan=False)


def main():
    result = os.fdopen(3, "w", encoding="utf-8")
    os.set_inheritable(3, False)
    result.write("\n")  # it has begun
    result.flush()
    job = json.loads(sys.stdin.buffer.read().decode("utf-8"))
    sys.stdin = open(os.devnull)
    sys.argv = ["script"]
    os.dup2(sys.stdin.fileno(), 0)
    try:
        text = '{"payload":%s}' % run(job)
    except BaseException as e:
        lines = traceback.format_exception(type(e), e, e.__traceback__)
        own = os.path.abspath(__file__)
        lines = [l for l in lines if own not in l]
        whole = "".join(lines).rstrip()
        sys.stderr.write(whole + "\n")
        text = json.dumps({"failure": whole.splitlines()[-1] if whole else type(e).__name__, "traceback": whole[-8000:]})
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception:
        pass
    result.write(text)
    result.close()
    os._exit(0)


main()
