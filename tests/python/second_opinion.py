"""Asks other people's PDU codecs: one JSON question a line on standard input, one answer a line on standard output.

{"ask": "deliver" | "submit" | "report", "pdu": HEX}   -> {LIBRARY: {"number", "text", "at", "concat", ...} or {"error": SENTENCE}}
{"ask": "encode", "number", "text", "reference", "hours"} -> {LIBRARY: [HEX, ...] or {"error": SENTENCE}}
{"ask": "split", "text"}                               -> {LIBRARY: {"ucs2": BOOL, "parts": [TEXT, ...]}}

It compares nothing: tests/suite/second_opinion.rs does, and knows the libraries' defects.
"""

import binascii
import json
import logging
import sys
from datetime import timedelta, timezone
from io import StringIO

import smsutil
from gsmmodem import pdu as gsmmodem
from messaging.sms import SmsDeliver, SmsSubmit
from smspdudecoder.fields import SMSDeliver as DecoderDeliver
from smspdudecoder.fields import SMSSubmit as DecoderSubmit

logging.disable(logging.CRITICAL)


def at(moment):
    """Seconds since 1970; a moment without a zone is one of UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return int(moment.timestamp())


def smspdudecoder(ask, pdu):
    if ask == "report":
        return None
    which, who = (DecoderDeliver, "sender") if ask == "deliver" else (DecoderSubmit, "recipient")
    sms = which.decode(StringIO(pdu))
    plus = "+" if sms[who]["toa"]["ton"] == "international" else ""
    text = sms["user_data"]["data"]
    answer = {"number": plus + sms[who]["number"]}
    if isinstance(text, bytes):
        answer["data"] = binascii.hexlify(text).decode().upper()
    else:
        answer["text"] = text
    header = sms["user_data"]["header"]
    for element in header["elements"] if header else []:
        if element["iei"] in (0, 8):
            data = element["data"]
            answer["concat"] = [data["reference"], data["parts_count"], data["part_number"]]
    if ask == "deliver":
        answer["at"] = at(sms["scts"])
    return answer


def python_gsmmodem(ask, pdu):
    sms = gsmmodem.decodeSmsPdu(pdu)
    answer = {"number": sms["number"], "length": sms["tpdu_length"]}
    if "text" in sms:
        answer["text"] = sms["text"]
    if "time" in sms:
        answer["at"] = at(sms["time"])
    if ask == "report":
        answer.update(reference=sms["reference"], status=sms["status"], discharged=at(sms["discharge"]))
    if isinstance(sms.get("validity"), timedelta):
        answer["validity"] = int(sms["validity"].total_seconds())
    for element in sms.get("udh", []):
        if isinstance(element, gsmmodem.Concatenation):
            answer["concat"] = [element.reference, element.parts, element.number]
    return answer


def python_messaging(ask, pdu):
    if ask == "submit":
        return None
    data = SmsDeliver(pdu).data
    if ask == "report":
        return {"number": data["sr"]["recipient"], "reference": data["ref"]}
    answer = {"number": data["number"], "at": at(data["date"])}
    if isinstance(data["text"], bytes):
        answer["data"] = binascii.hexlify(data["text"]).decode().upper()
    else:
        answer["text"] = data["text"]
    if "ref" in data:
        answer["concat"] = [data["ref"], data["cnt"], data["seq"]]
    return answer


def gsmmodem_encodes(question):
    validity = timedelta(hours=question["hours"])
    made = gsmmodem.encodeSmsSubmitPdu(
        question["number"], question["text"], reference=question["reference"], validity=validity
    )
    return [str(one) for one in made]


def messaging_encodes(question):
    sms = SmsSubmit(question["number"], question["text"])
    sms.ref = question["reference"]
    sms.rand_id = question["reference"]
    sms.request_status = True
    sms.validity = timedelta(hours=question["hours"])
    return [one.pdu.upper() for one in sms.to_pdu()]


def asked(function, *arguments):
    try:
        return function(*arguments)
    except Exception as error:  # whatever it is, it is the library's answer
        return {"error": f"{type(error).__name__}: {error}"}


def answer(question):
    ask = question["ask"]
    if ask == "encode":
        return {
            "python-gsmmodem-new": asked(gsmmodem_encodes, question),
            "python-messaging": asked(messaging_encodes, question),
        }
    if ask == "split":
        result = smsutil.split(question["text"])
        parts = [part.content for part in result.parts]
        return {"smsutil": {"ucs2": result.encoding != "gsm0338", "parts": parts}}
    libraries = {
        "smspdudecoder": smspdudecoder,
        "python-gsmmodem-new": python_gsmmodem,
        "python-messaging": python_messaging,
    }
    answers = {name: asked(library, ask, question["pdu"]) for name, library in libraries.items()}
    return {name: one for name, one in answers.items() if one is not None}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))))
