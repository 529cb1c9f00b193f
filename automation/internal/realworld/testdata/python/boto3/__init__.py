"""A small stand-in for AWS's SDK for Python: every call is a line of JSON to a socket, behind which a test plays AWS."""
import datetime
import io
import json
import os
import socket
import time

from botocore.exceptions import ClientError, of


def say(service, op, kw):
    def plain(v):
        if isinstance(v, (bytes, bytearray)):
            return v.decode()
        if hasattr(v, "read"):
            return v.read().decode()
        if isinstance(v, (datetime.datetime, datetime.date)):
            return v.isoformat()
        if isinstance(v, (set, tuple)):
            return list(v)
        raise TypeError(type(v).__name__)

    def rich(m):
        if "$body" in m:
            return io.BytesIO(m["$body"].encode())
        if "$time" in m:
            return datetime.datetime.fromtimestamp(m["$time"], datetime.timezone.utc)
        return m

    s = socket.socket(socket.AF_UNIX)
    s.connect(os.environ["SMALL_AWS"])
    s.sendall(json.dumps({"service": service, "op": op, "in": kw}, default=plain).encode() + b"\n")
    answer = json.loads(s.makefile().read(), object_hook=rich)
    s.close()
    if "error" in answer:
        e = answer["error"]
        raise of(e["code"])({"Error": {"Code": e["code"], "Message": e["message"]}, "ResponseMetadata": {"HTTPStatusCode": 400}}, op)
    out = answer["out"]
    out.setdefault("ResponseMetadata", {"HTTPStatusCode": 200})
    return out


def sleep(seconds):
    say("clock", "Sleep", {"Seconds": seconds})


time.sleep = sleep  # the test's clock, not the machine's


def pascal(name):
    return "".join(w[:1].upper() + w[1:] for w in name.split("_"))


class Exceptions:
    ClientError = ClientError

    def __getattr__(self, name):
        return of(name)


class Pages:
    def __init__(self, call, kw):
        self.call, self.kw = call, kw

    def __iter__(self):
        kw = {k: v for k, v in self.kw.items() if k != "PaginationConfig"}
        while True:
            page = self.call(**kw)
            yield page
            for got, sent in (("NextToken", "NextToken"), ("nextToken", "nextToken"), ("NextMarker", "Marker"), ("Marker", "Marker"), ("NextContinuationToken", "ContinuationToken"),
                              ("KeyMarker", "KeyMarker")):
                if page.get(got) and page.get("IsTruncated", True):
                    kw[sent] = page[got]
                    break
            else:
                return

    def build_full_result(self):
        whole = {}
        for page in self:
            for k, v in page.items():
                if isinstance(v, list):
                    whole.setdefault(k, []).extend(v)
        return whole


class Paginator:
    def __init__(self, call):
        self.call = call

    def paginate(self, **kw):
        return Pages(self.call, kw)


class Waiter:
    def __init__(self, service, name):
        self.service, self.name = service, name

    def wait(self, **kw):
        kw.pop("WaiterConfig", None)
        say(self.service, "Wait" + pascal(self.name), kw)


class Meta:
    partition = "aws"

    def __init__(self, region):
        self.region_name = region


class Client:
    def __init__(self, service, region):
        self._service = service
        self.exceptions = Exceptions()
        self.meta = Meta(region or os.environ.get("AWS_REGION"))

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda **kw: say(self._service, pascal(name), kw)

    def get_paginator(self, name):
        return Paginator(getattr(self, name))

    def get_waiter(self, name):
        return Waiter(self._service, name)

    def can_paginate(self, name):
        return True


class SecurityGroup:
    def __init__(self, client, id):
        self.client, self.id = client, id

    def revoke_ingress(self, **kw):
        return self.client.revoke_security_group_ingress(**dict(kw, GroupId=self.id))

    def revoke_egress(self, **kw):
        return self.client.revoke_security_group_egress(**dict(kw, GroupId=self.id))

    def authorize_egress(self, **kw):
        return self.client.authorize_security_group_egress(**dict(kw, GroupId=self.id))

    @property
    def ip_permissions_egress(self):
        return self.client.describe_security_groups(GroupIds=[self.id])["SecurityGroups"][0].get("IpPermissionsEgress", [])


class Resource:
    def __init__(self, service, region):
        self.meta = Meta(region)
        self.meta.client = Client(service, region)

    def SecurityGroup(self, id):
        return SecurityGroup(self.meta.client, id)


class Session:
    def __init__(self, region_name=None, **kw):
        self.region_name = region_name or os.environ.get("AWS_REGION")

    def client(self, service_name, region_name=None, **kw):
        return Client(service_name, region_name or self.region_name)

    def resource(self, service_name, region_name=None, **kw):
        return Resource(service_name, region_name or self.region_name)

    def get_partition_for_region(self, region):
        return "aws"

    def get_available_regions(self, service):
        return [self.region_name]


def client(service_name, region_name=None, **kw):
    return Client(service_name, region_name)


def resource(service_name, region_name=None, **kw):
    return Resource(service_name, region_name)


from . import session  # noqa: E402,F401
