class Config:
    def __init__(self, **kw):
        self.options = kw
