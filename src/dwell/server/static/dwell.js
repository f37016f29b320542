(()=>{
'use strict'
const script=document.currentScript
if(window.dwell&&window.dwell.start)return
const defaults={
waitS:2,
batch:20,
reformulatedS:60,
bounceS:10,
}
const MAX_QUEUE=500
const MAX_BATCH=40
const MAX_TRIES=6
const SEEN_MS=1000
const LEFT_MS=10000
const stats={sent:0,dropped:0,errors:0}
const page=Array.from(crypto.getRandomValues(new Uint32Array(4)),n=>n.toString(36)).join('')
let settings,observer,timer,isBusy,isHurried,pending,leftAt,asked,shown={}
let queue=[],size=MAX_BATCH,tries=0,serial=0
const done=new Set(),waiting=new Map()
const guard=f=>(...args)=>{
try{return f(...args)}catch{stats.errors++}
}
const listen=(target,names,f)=>names.split(' ').forEach(name=>target.addEventListener(name,guard(f),true))
const first=()=>document.querySelector('[data-dwell-event]')
const isVisible=()=>document.visibilityState==='visible'
const listOf=element=>{
const{dwellEvent,dwellToken}=((element&&element.closest('[data-dwell-event]'))||{}).dataset||{}
return dwellEvent?{id:dwellEvent,token:dwellToken}:{id:settings.eventId,token:settings.token}
}
const docOf=element=>(element.closest('[data-dwell-doc]')||{dataset:{}}).dataset.dwellDoc
const once=(...key)=>{
const name=JSON.stringify(key),isNew=!done.has(name)
if(done.size>5000)done.clear()
done.add(name)
return isNew
}
const push=(signal,list,doc,value=1)=>{
if(!settings||!list.id||!Number.isFinite(value))return
if(queue.length>=MAX_QUEUE)return void stats.dropped++
queue.push({
event_id:list.id,signal,doc,value,at:Date.now()/1000,
idempotency_key:`${page}.${serial++}`,token:list.token||undefined,
})
if(queue.length>=settings.batch&&!tries)send()
else later(settings.waitS*1000)
}
const later=ms=>{timer=timer||setTimeout(guard(send),ms)}
const remove=batch=>{queue=queue.filter(item=>!batch.includes(item))}
const body=items=>JSON.stringify({key:settings.key||undefined,user:settings.user||undefined,items})
const send=isUrgent=>{
clearTimeout(timer)
timer=0
if(!settings||!queue.length||(isBusy&&!isUrgent))return
const batch=queue.slice(0,size)
isBusy=true
fetch(settings.endpoint,{
method:'POST',body:body(batch),keepalive:!!isUrgent,credentials:'omit',
signal:AbortSignal.timeout&&AbortSignal.timeout(10000),
}).then(answer=>settle(batch,answer.status,+answer.headers.get('Retry-After')),()=>settle(batch))
}
const settle=guard((batch,status,waitS)=>{
isBusy=false
const isSent=status>=200&&status<300
clearTimeout(timer)
timer=0
if(!isSent&&(!status||status===408||status===429||status>499)&&++tries<MAX_TRIES){
return later(1000*Math.min(waitS||0,300)+Math.random()*1000*2**tries)
}
tries=0
if(status===400&&batch.length>1)size=batch.length>>1
else{
stats[isSent?'sent':'dropped']+=batch.length
size=MAX_BATCH
remove(batch)
}
isHurried=isHurried&&queue.length
if(queue.length&&settings){
later(size<MAX_BATCH||isHurried||queue.length>=settings.batch?0:settings.waitS*1000)
}
})
const hurry=()=>{
isHurried=true
while(settings&&queue.length){
const batch=queue.slice(0,MAX_BATCH)
if(!navigator.sendBeacon||!navigator.sendBeacon(settings.endpoint,body(batch)))return send(true)
stats.sent+=batch.length
remove(batch)
}
}
const forget=()=>{
waiting.forEach(id=>clearTimeout(id))
waiting.clear()
}
const look=entries=>entries.forEach(({target,intersectionRatio,intersectionRect})=>{
if(isVisible()&&(intersectionRatio>=0.5||intersectionRect.height>=innerHeight/2)){
if(!waiting.has(target))waiting.set(target,setTimeout(guard(saw),SEEN_MS,target))
}else{
clearTimeout(waiting.get(target))
waiting.delete(target)
}
})
const saw=element=>{
const list=listOf(element),doc=docOf(element)
waiting.delete(element)
if(doc&&once('view',list.id,doc))push('view',list,doc)
}
const scan=()=>{
const list=first()
if(!settings||!observer)return
if(list&&shown.id!==listOf(list).id)shown={id:listOf(list).id,at:Date.now()}
document.querySelectorAll('[data-dwell-doc]').forEach(element=>{
observer.unobserve(element)
observer.observe(element)
})
}
const clicked=event=>{
const{target,type,button}=event
const thumb=target.closest('[data-dwell-thumb]')
if(!settings||(type==='auxclick'&&(thumb||button!==1)))return
const list=listOf(target),doc=docOf(target)
if(thumb)return vote(thumb,list,doc)
if(!doc||!target.closest('a[href],[data-dwell-click]'))return
pending={list,doc,at:Date.now()}
once('clicked',list.id)
if(once('click',list.id,doc))push('click',list,doc)
}
const vote=(thumb,list,doc)=>{
const isTakenBack=thumb.getAttribute('aria-pressed')==='true'
for(const other of thumb.parentElement.querySelectorAll('[data-dwell-thumb]')){
other.setAttribute('aria-pressed',other===thumb&&!isTakenBack)
}
push('thumbs',list,doc,isTakenBack?0:thumb.dataset.dwellThumb==='up'?1:-1)
}
const left=()=>{
leftAt=leftAt||Date.now()
forget()
hurry()
}
const returned=()=>{
if(!isVisible())return
const{list,doc,at}=pending||{},awayS=(Date.now()-leftAt)/1000
if(doc&&leftAt-at<LEFT_MS&&awayS>=0&&awayS<=86400){
push('dwell',list,doc,awayS)
if(awayS<settings.bounceS)push('bounce',list,doc)
}
pending=leftAt=0
scan()
}
const plain=text=>text.trim().toLowerCase()
const submitted=({target})=>{
const input=target.querySelector('[data-dwell-search]'),list=listOf(first())
if(!input||!settings)return
const text=plain(input.value),before=asked||plain(input.defaultValue)
asked=text
if(!text||!before||text===before||Date.now()-shown.at>settings.reformulatedS*1000)return
if(list.id===shown.id&&once('clicked',list.id))push('reformulated',list)
}
const start=guard(options=>{
const merged={...defaults,...settings,...options}
if(!merged.endpoint)return console.warn('dwell: no endpoint, nothing is sent')
settings=merged
scan()
})
const track=guard((signal,about={})=>{
const{doc,value,eventId,token}=about
if(settings)push(signal,eventId?{id:eventId,token}:listOf(first()),doc,value)
})
const stop=()=>{
settings=null
queue=[]
forget()
}
window.dwell={start,track,flush:guard(hurry),stop,stats}
guard(()=>{
listen(window,'click auxclick',clicked)
listen(window,'submit',submitted)
listen(document,'visibilitychange',()=>isVisible()?returned():left())
listen(window,'pagehide',left)
listen(window,'pageshow',returned)
observer=new IntersectionObserver(guard(look),{threshold:[0,0.1,0.2,0.3,0.4,0.5]})
let isDue
new MutationObserver(guard(records=>{
if(records.some(record=>record.attributeName))forget()
isDue=isDue||setTimeout(guard(()=>{isDue=0;scan()}),100)
})).observe(document,{
subtree:true,childList:true,attributes:true,attributeFilter:['data-dwell-event','data-dwell-doc'],
})
customElements.define('dwell-thumbs',class extends HTMLElement{
connectedCallback(){
if(this.firstChild)return
this.setAttribute('role','group')
for(const[way,mark,label]of[['up','\u25B2','Helpful'],['down','\u25BC','Not helpful']]){
const button=document.createElement('button')
button.type='button'
button.dataset.dwellThumb=way
button.textContent=mark
button.setAttribute('aria-label',this.dataset[way]||label)
button.setAttribute('aria-pressed',false)
this.append(button)
}
}
})
})()
if(script&&('key' in script.dataset||'endpoint' in script.dataset)){
start({endpoint:new URL('v1/feedback',script.src).href,...script.dataset})
}
})()
