"""Stands in for the module that kafka-python's source archive lacks: its tests meet a broker that runs already."""


class ExternalService:
    def __init__(self, host, port):
        self.host = host
        self.port = port

    def open(self):
        pass

    def stop(self):
        pass

    def close(self):
        pass


class SpawnedService:
    def __init__(self, *_arguments):
        raise NotImplementedError("only brokers that run already are tested")
