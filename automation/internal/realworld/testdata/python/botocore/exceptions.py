class BotoCoreError(Exception):
    pass


class WaiterError(BotoCoreError):
    pass


class NoCredentialsError(BotoCoreError):
    pass


class EndpointConnectionError(BotoCoreError):
    pass


class ParamValidationError(BotoCoreError):
    pass


class coded(type):
    """The class of an error's class: codes that have dots are attributes of one another."""

    def __getattr__(cls, name):
        if name.startswith("_") or not cls.code:
            raise AttributeError(name)
        return of(cls.code + "." + name)


class ClientError(Exception, metaclass=coded):
    code = ""

    def __init__(self, error_response, operation_name):
        e = error_response.get("Error", {})
        super().__init__("An error occurred (%s) when calling the %s operation: %s" % (e.get("Code", "Unknown"), operation_name, e.get("Message", "Unknown")))
        self.response, self.operation_name = error_response, operation_name


known = {}


def of(code):
    """The class of the errors with a code."""
    if code not in known:
        known[code] = type(ClientError)(code, (ClientError,), {"code": code})
    return known[code]
